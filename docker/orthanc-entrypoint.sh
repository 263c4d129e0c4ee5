#!/bin/sh
# Orthanc asks for the password that orthanc_al's container makes in the folder that both share.
set -eu
trap 'exit 0' TERM INT # the shell is process 1 until Orthanc runs, and would ignore them
file=/var/lib/orthanc-al/secrets/orthanc__password
until [ -s "$file" ]; do sleep 0.2; done
ORTHANC_PASSWORD=$(cat "$file")
export ORTHANC_PASSWORD
exec Orthanc /etc/orthanc-al/orthanc.json
