#!/bin/sh
# `import openvino`, and nothing else, reports itself to Google Analytics and leaves an id in the home folder.
#
# The guess: OpenVINO's telemetry belongs to its converters (ovc, the model zoo tools), which say so when they run; a
#   program that only loads a network and computes with it opens no connection and writes no file.
# What was seen (OpenVINO 2026.4.1 with openvino-telemetry 2025.2.0, which pip brings along, Linux): importing the package
#   imports its converter, which at once sends the event "general_import" from a process of its own: it looks up
#   www.google-analytics.com, and writes a random id that stays (intel/openvino_ga_cid) into the home folder. It is silent:
#   without a network nothing is said and nothing fails. In CI (the variable CI is set) it does nothing, so tests there do not see it.
# Why it hurts: hospitals forbid such connections, and notice them; a home folder that may not be written to, or is shared by
#   many nodes of a cluster, gets files of which nobody knows who has made them.
# The way around: `opt_in_out --opt_out` writes a file with a 0 for one user. For a program: hide the module before the import
#   (sys.modules["openvino_telemetry"] = None); OpenVINO then uses a stub that does nothing.
#
# This script lets nothing out: in its processes names are noted instead of looked up, and the home folder is a temporary one.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.4.6
mkdir "$folder/site"
cat >"$folder/site/sitecustomize.py" <<'EOF'
import os
import socket


def note(host, *_, **__):
    with open(os.environ["NOTED"], "a") as file:
        file.write(f"{host}\n")
    raise socket.gaierror("names are not looked up here")


socket.getaddrinfo = socket.gethostbyname = note
EOF

# What is looked up and what is written when Python runs $2 with the home folder $1.
run() {
    mkdir "$folder/$1"
    env -u CI HOME="$folder/$1" NOTED="$folder/$1.hosts" PYTHONPATH="$folder/site" "$folder/venv/bin/python" -c "$2"
    sleep 3 # for the process that sends
    hosts=$(sort -u "$folder/$1.hosts" 2>/dev/null || true)
    files=$(cd "$folder/$1" && find . -type f | sort | tr '\n' ' ')
    echo "$1: looked up: ${hosts:-nothing}; written into the home folder: ${files:-nothing}"
}

run plain "import openvino"
[ "$hosts" = "www.google-analytics.com" ] || { echo "changed: the import looks up ${hosts:-nothing}"; exit 1; }
case "$files" in *intel/openvino_ga_cid*) ;; *) echo "changed: the import writes ${files:-nothing}" && exit 1 ;; esac
run hidden "import sys; sys.modules['openvino_telemetry'] = None; import openvino; print('OpenVINO', openvino.__version__)"
[ -z "$hosts$files" ] || { echo "changed: hiding the module no longer helps"; exit 1; }
