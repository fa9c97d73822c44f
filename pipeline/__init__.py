"""From a competition's images to a submission.csv that is accepted: sequential stages that meet only in files.

detect    input/<competition>/ as downloaded         -> configs/<competition>.toml (only where there is none)
prepare   tables and images                          -> output/cache/..., output/<run>/audit.csv
folds     train table                                -> folds/<competition>-<hash of settings>.csv
train     folds, cache                               -> output/<run>/fold<K>/{model.safetensors, history.csv}
infer     models, cache                              -> output/<run>/fold<K>/{oof.parquet, test.parquet}
ensemble  oof.parquet, test.parquet of every fold    -> output/<run>/{oof,test}.parquet, scores.json, submission.csv
practice  scikit-learn, torchvision, or a folder     -> input/<name>/, a competition with hidden answers

Rooms, each importing only those before it:

config, files,       settings; where files live, how they are written, locks;
freshness, cli,      what made a product; the command line that all stages share;
environment          whether a python has the packages (standard library alone)
competition/         table, fold_table, splits, greedy_split, layout, task, metrics, decide, ensembling, predictions,
                     submission: what the competition is; pandas and scikit-learn, never torch
images/              decode, cache, batches: from files to batches
                     augment, policies, random_draws, geometry, colour, erasing, mix, albumentations_file: augmentation
model/               networks, build, weights, checkpoint
engine/              fit, run_model, update, optimizer, losses, machine: training
                     trained, predict: inference
"""
