#!/usr/bin/env bash
# What a GPU does with all this: tests, the demo, speeds, equal bytes, several processes. In under eight minutes, on a bare machine with
# python 3.12, torch, timm, pandas, pyarrow, scikit-learn and OpenCV, and no network.
#   bash tests/benchmarks/gpu.sh wheels    where there is a network: what such a machine may lack, as wheels in .whl/
#   bash tests/benchmarks/gpu.sh [PART...] there: all parts, or some of those below
# Each part has a time limit of its own, and none stops the others. What they say also goes to gpu.txt in $OUT, or where
# that is unset in output/gpu.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python

if [ "${1:-}" = wheels ]; then
    # The versions that are tested here. No dependencies: of what is large, torch brings its own.
    names=$("$python" - <<'END'
from importlib.metadata import version

names = "pydantic pydantic_core annotated-types typing-inspection typing_extensions albumentations albucore stringzilla"
names += " simsimd safetensors tqdm pytest pluggy iniconfig pygments packaging hypothesis sortedcontainers"
print(*[f"{name}=={version(name)}" for name in names.split()])
END
    ) || exit 1
    platforms=$(printf -- '--platform manylinux_2_%s_x86_64 ' 39 35 34 31 28 27 24 17)
    # shellcheck disable=SC2086
    exec "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        $platforms --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --dest .whl $names
fi

out=${OUT:-output/gpu}
mkdir -p "$out" && : >"$out/gpu.txt" || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

complete() { "$python" -m pipeline.environment && "$python" -c 'import hypothesis, pytest'; }
if [ -d .whl ] && ! complete >/dev/null 2>&1; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$scratch/site" .whl/*.whl || exit 1
    export PYTHONPATH=$scratch/site
fi
complete || {
    "$python" -c 'from pipeline.environment import look, needed; print(f"gpu.sh: packages are missing: {look(needed())[0]}")'
    exit 1
}
export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$PWD:$PWD/tests PYTHONUNBUFFERED=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1

LIMIT=470 patience=1
wanted=" $* "
summary=
# part NAME SECONDS COMMAND...: for so long at most, and no longer than all may take.
part() {
    [[ $wanted == "  " || $wanted == *" $1 "* ]] || return 0
    local name=$1 start=$SECONDS limit=$((LIMIT - SECONDS)) status
    [ "$limit" -lt $(($2 * patience)) ] || limit=$(($2 * patience))
    shift 2
    printf '\n== %s\n' "$name" | tee -a "$out/gpu.txt"
    if [ "$limit" -le 0 ]; then
        status="not begun: the time was up"
    else
        timeout --kill-after=5 "$limit" "$@" 2>&1 | tee -a "$out/gpu.txt"
        case ${PIPESTATUS[0]} in
        0) status=well ;;
        124 | 137) status="cut off after $limit s" ;;
        *) status=FAILED ;;
        esac
    fi
    summary+="$name: $status, $((SECONDS - start)) s"$'\n'
}

here=tests/benchmarks
rooms="tests/engine tests/images tests/model"
# Without CUDA the jobs are small, what needs it says so, and the limits are long.
if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    jobs="resnet9:16:64:256 resnet18:32:32:64"
    costs=resnet18:32:32:64 shared_jobs=resnet18:32:32:256
    LIMIT=4000 patience=8
else
    jobs="resnet18:32:512:51200 resnet50:32:512:25600 convnext_tiny:32:512:25600"
    jobs+=" resnet18:224:256:5120 resnet50:224:128:2560 convnext_tiny:224:64:1280 tf_efficientnet_lite0:224:64:1280"
    costs="resnet18:32:512:51200 resnet18:224:256:5120"
    shared_jobs="resnet18:224:64:640 resnet18:32:512:5120"
fi
# The demo runs in a copy, so that nothing of the user's is touched, with the packages of this python.
mkdir -p "$scratch/demo/input"
cp -r pipeline configs run.sh pyproject.toml "$scratch/demo"
VIRTUAL_ENV=$("$python" -c 'import sys; print(sys.prefix)')
export VIRTUAL_ENV

# shellcheck disable=SC2086
{
    part gpu 60 "$python" -m pytest -q -m gpu $rooms
    part demo 60 bash "$scratch/demo/run.sh"
    part step 100 "$python" $here/step.py $jobs
    part deterministic 40 "$python" $here/step.py --deterministic $costs
    part resume 150 "$python" $here/runs.py resume
    part together 120 "$python" $here/together.py $shared_jobs
    part augment 30 "$python" $here/augment.py
    part cifar 45 "$python" $here/runs.py cifar
    part compile 60 "$python" $here/compiled.py
    part tests 200 "$python" -m pytest -q -m 'not slow and not gpu' $rooms
}
printf '\n== all\n%s' "$summary" | tee -a "$out/gpu.txt"
[[ $summary != *FAILED* ]]
