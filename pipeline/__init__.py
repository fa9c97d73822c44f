"""From a competition's images to a submission.csv that is accepted: sequential stages that meet only in files.

detect    input/<competition>/ as downloaded     -> configs/<competition>.toml (only where there is none)
prepare   tables, images, archives               -> output/cache/..., output/<run>/audit.csv
          what lies at an address elsewhere, such as s3://..., detect and prepare copy there first; no other stage asks
folds     train table, audit                     -> folds/<competition>-<hash of settings>.csv, its certificate
probe     folds, cache, published weights        -> output/<run>/probe/{oof,test}.parquet: a first submission;
                                                    output/<run>/alike.csv, images that may be one
train     folds, cache, the probe's classifier   -> output/<run>/fold<K>/{model.safetensors, history.csv, valid.parquet}
infer     models, cache                          -> output/<run>/fold<K>/{oof.parquet, test.parquet}
ensemble  every oof.parquet, test.parquet        -> output/<run>/{oof,test}.parquet, scores.json, submission.csv
report    everything that a run has made   -> output/<run>/report.html, a page to look at; a line of output/ledger.csv;
          names of several runs            -> output/compare.html
ledger    a score on the leaderboard       -> output/ledger.csv, a line for every finished run
check     a submission made anywhere                -> whether it has the form that the sample asks for
practice  scikit-learn, torchvision, or a folder -> input/<name>/, a competition with hidden answers
weights   folders, caches, packages, the hub     -> where published weights are; output/cache/weights/

__main__  several stages in one process, as run.sh runs them: python -m pipeline STAGE...; a submission of the probe
          before the first training, and another with every model

Rooms, each importing only those before it (pandas and scikit-learn in competition/, torch from images/ on):

section, competition_config, config
                      every setting and the stages that depend on it
combinations          settings that do not go together
config_file           reading them from TOML
log, text_table, signals
                      what is said, in lines and tables; how a stage stops
cores                 how many cores there are to keep busy
bars                  progress bars, and where one is drawn
others, processes, sharing, dealing, launch, gpus
                      several processes at one run: finding and missing each other, what they tell each other, what
                      they must have in common, which models each makes, how they start
durations, stopwatch  time spans in settings and in words; what parts of a loop take
archive_names         which files are packed downloads
roots                 folders and addresses of competitions, and where the copies of the latter are
files, paths          how files are found, written, locked; where they live
stamps, freshness     what a product was made from, what it must be made from
as_made               a run's settings as its stamps hold them, and what has changed since
plan                  what a run within a time limit decided, and the settings that follow
randomness            what is drawn: counted, not carried
nearest               which known names may be meant
quoting               how messages quote what others wrote
image_kinds           opening images, HEIC too; why a file is none that is read
practice_sources      where practice competitions come from
cli, environment      the command line that all stages share; whether a python has the packages
competition/          what it gives and asks for, never torch
                      remote/ (stores, listing, copying, copies): what lies elsewhere, copied
                      archives/ (unpacking, opened): packed downloads
                      tables/ (csv_table, cells, encoding, json_table, other_tables, long_table, templates, rows,
                      table, image_list, sample, passed_over, other_case, conflicts, rows_by_id)
                      answers/ (spelling, probs, metrics, task, decide, predictions, scoring, ensembling, blending,
                      linear, probing, mirrors, form, submission): labels, scores, classifiers of features, from
                      probabilities to the file
                      folds/ (splits, greedy_split, versions, fold_table)
detection/            recognise a download: inventory (image_files, encodings, sheets, sample_table) -> readings/, a
                      file for each family of downloads (candidates) -> choose -> what is asked (asked, answerable),
                      groups, box, extra, lost, unused, disagreement, negative, metric, metric_text, survey -> found,
                      config_text
                      plain_template, find_template, second_images, folders, label_columns, name_lists: helpers of
                      readings
                      habits: words and thresholds
images/               headers, grey, decode, index, cache, fill, batches: from files to batches; decoding: its time
                      augment/ (augment, policies, geometry, colour, erasing, mix, albumentations_file, epoch_changes)
audit/                what speaks against images and labels: doubts, labels that may be wrong; doubt_lines: what is said
                      of them; shift, by features or plain_features, and drift: what differs between train and test
                      audit_table: a row for each image
                      duplicates: versions of one image, by hashes of pixels and looks, and by what is near
                      alike: pairs of images by their features; alike_table: what is said of them
                      certificate: what folds hold and what they split; certificate_lines: what is said of it
recipes               image size, network and training by rule, from what detection knows
model/                networks, build, trial, sizes, weights, weight_file, checkpoint, fuse_norms, convolutions
                      pretrained, published, weight_names, lite, hub: published weights, found here or fetched
                      chosen: which file of them that is, for stamps
scores/               what a run's predictions are worth: measure, by its folds, as brought along, on hidden answers
                      products: its tables, scores, submission; interval: how sure; summary: what is said of them;
                      spent: where the time went, and what bounds it;
                      advice: what to do next; ledger: all finished runs
engine/               run_model, the one loop, over a network on its machine; what it says is gathered
                      fit, start, training, learn, together, whole_batch, shards, state, norms, freezing, recompute,
                      optimizer, muon, losses, resume, nested, history, forecast: training
                      pace, limit, planning: what fits into a time limit
                      predictor, predict, held_out: validation and inference
                      features, heads, probing: of the network as it starts, for the probe
                      looks: where a network looks, what training sees; board: TensorBoard's curves
page/                 the page of a run: facts read from its products -> sections (versions, score, classes, galleries,
                      network, data, making) of blocks, with charts and pictures -> render, by page.html, style.css,
                      sort.js; compare: runs beside each other
"""
