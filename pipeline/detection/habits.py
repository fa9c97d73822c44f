"""Habits of naming and thresholds: what no file says, each with where it was met. They break ties, or say what is what
where the files leave it open; a word of them alone never makes a reading.
"""

import re

# ---- parts of a download

# What parts of a download are called, in most: `test`, `Testing`, `seg_pred`, `stage1_test`, `valid`.
TEST_WORDS = ("test", "pred", "predict", "prediction")
TRAIN_WORDS = ("train",)
VALID_WORDS = ("val", "valid", "validation", "dev")
# Folders of images beyond the two parts, in challenges that allow more data.
EXTRA_WORDS = ("extra", "additional", "unlabelled", "unlabeled", "unlabled")
# What a column says that tells train from test rows.
SPLIT_WORDS = {*VALID_WORDS, "train", "training", "test", "testing"}
# Folders whose names have these hold something drawn or shrunk from the images, under the images' names.
DERIVED = ("mask", "thumb", "segment")
# A folder of such a name among so many others that hold images side by side is a class of them.
MANY_SIBLINGS = 3

# ---- tables

# What a file of labels is called.
TABLE_WORDS = ("train", "sample", "sub")
# What other files of labels are called.
LABEL_FILES = ("label", "train", "annotation", "metadata", "class", "groundtruth", "target")
# Names of label columns.
LABEL_WORDS = ("label", "target", "class", "categor", "tag", "answer")
# In cocodataset.org's data format, an annotation's class.
CLASS_OF_COCO = "category_id"
# A folder with more tables than this holds data (one table for an image), not descriptions of the competition.
MAX_TABLES = 20
# So many json files that are named as images are say something of one image each.
MANY_ANNOTATIONS = 3
# A table with a smaller fraction of the images of another one is no train table: it is one of classes, or an example;
# and rows without a label are left out where they are a smaller fraction of all.
FEW = 0.1

# ---- images

# Of the train images, a fraction that may be lost and is left out without asking: organisers forget a file here and
# there, and a twentieth less to train on hardly shows in a score. Where more are lost, a part of the download is.
MOST_LOST = 0.05

# ---- labels

# Rows of one image are a tag each where at least this fraction of the images have several: in Open Images nearly all,
# by mistakes in writing few.
MANY_TAGS = 0.1

# Names of a class in which there is nothing to find, or with which all is well: in detection of objects and marks, in
# medicine, in the inspection of goods ("OK" and "NG"); those in \u are Korean (normal, a good article, none, negative),
# and Chinese and Japanese (normal, a good article, passed, negative in two spellings, none in three).
NOTHING_THERE = (
    *("cover", "normal", "negative", "neg", "none", "no", "background", "empty", "absent", "nothing", "control"),
    *("ok", "okay", "good", "clean", "clear", "healthy", "pass", "passed", "intact", "off", "false"),
    *("uninfected", "undamaged", "unaffected"),
    *("\uc815\uc0c1", "\uc591\ud488", "\uc5c6\uc74c", "\uc74c\uc131"),
    *(
        "\u6b63\u5e38",
        "\u826f\u54c1",
        "\u5408\u683c",
        "\u9634\u6027",
        "\u9670\u6027",
        "\u65e0",
        "\u7121",
        "\u306a\u3057",
    ),
)
# Names of what is as it should be, whose other is what is looked for (`fake`, `unsafe`): mostly, not always.
ALL_IS_WELL = ("safe", "stable", "valid", "real", "genuine", "authentic", "original", "benign")
# What names of the case that is looked for begin with or hold, in a column to fill: `defective`, `anomaly_score`.
BAD_CASES = (
    *("violat", "infring", "defect", "anomal", "abnormal", "fault", "damag", "fail", "fraud", "diseas", "infect"),
    *("danger", "hazard", "threat", "attack", "fake", "crack", "fire", "smok"),
)
# Of them those by which something that must be there is missing: a helmet, a mask.
VIOLATIONS = ("violat", "infring")
# What turns a name into its negation, before it or joined to it: `no_fire`, `non-smoker`, `notumor`, `undamaged`.
NEGATIONS = ("no", "non", "not", "un", "without")
# What else does in the name of a column, before or after: `missing_helmet`, `defect_free`.
LACKS = ("missing", "lack", "lacks", "lacking", "absence", "absent", "free")
# Words about the answer, not about what is asked, in the name of a column to fill: `is_defect`, `label`.
QUESTION_WORDS = (
    *("is", "are", "was", "has", "label", "target", "class", "prob", "probability", "proba", "likelihood"),
    *("score", "pred", "predicted", "prediction", "result", "confidence"),
)
# Of two labels, a fraction of images that makes the rarer one rare: plain labels would be the common one throughout.
RARE = 0.2
# How many grades a scale has, such as one of severity; with fewer or more, numbers are rather names of classes.
NUM_GRADES = (4, 5, 6)
MOST_GRADES = 10
# A group is several images of one thing: more than 20 on average is rather a property that many things share.
MAX_GROUP = 20.0
# What columns are called that say whose or what an image is; of columns that group alike these come before numbers.
GROUP_WORDS = (
    *("patient", "subject", "person", "participant", "individual", "user", "author", "writer", "animal"),
    *("site", "place", "location", "plot", "scene", "camera", "device", "hospital", "group", "batch", "lot"),
    *("case", "study", "specimen", "slide", "video", "sequence", "series", "family"),
)
# Fewer than so many groups fill no folds; where values hardly repeat there is nothing to keep together.
LEAST_GROUPS, MIN_GROUP = 10, 1.2
# Pairs of images that are compared, and the mean difference below which they are versions of one, of 255 levels.
NUM_PAIRS, ALIKE = 10, 12.0
# A name is shared by the folders' images where it is in this fraction of them on average.
SHARED = 0.9


# What may follow such a word without a break: `trainset`, `testdata`, `testing`.
_BEHIND = r"(?:s|set|data|ing|es|img|imgs|image|images)?"


def words(name: str) -> list[str]:
    """Cut a name into its words in small letters: `seg_Test2`, `trainImages` -> seg, test; train, images."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_a-zA-Z]+", name)]


def says(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether a name has one of some words, as a whole word or before `set`, `data`, `images`."""
    return any(re.fullmatch(text + _BEHIND, word) for word in words(name) for text in wanted)
