#!/bin/sh
# Fills in the configuration: Orthanc asks for the password that orthanc_al's container makes.
set -eu
umask 077
mkdir -p /tmp/viewer # a folder of this container's memory
trap 'exit 0' TERM INT # the shell is process 1 until nginx runs, and would ignore them
file=${ORTHANC_AL_SECRETS:-/var/lib/orthanc-al/secrets}/orthanc__password
until [ -s "$file" ]; do sleep 0.2; done

# nginx asks the resolver itself and knows no search domains, which podman's networks need.
full_name() { # HOST
  until getent hosts "$1" >/dev/null; do sleep 0.2; done
  for domain in $(awk '/^search/ { $1 = ""; print }' /etc/resolv.conf); do
    if getent hosts "$1.$domain" >/dev/null; then
      echo "$1.$domain"
      return
    fi
  done
  echo "$1"
}

basic=$(printf 'orthanc_al:%s' "$(cat "$file")" | base64 -w 0)
resolver=${RESOLVER:-$(awk '/^nameserver/ { print $2; exit }' /etc/resolv.conf)}
sed -e "s|\${ORTHANC_BASIC}|$basic|" \
  -e "s|\${RESOLVER}|$resolver|" \
  -e "s|\${LISTEN}|${LISTEN:-3000}|" \
  -e "s|\${VIEWER}|${VIEWER:-/usr/share/ohif}|" \
  -e "s|\${GATEWAY}|${GATEWAY:-http://$(full_name orthanc_al):8080}|" \
  -e "s|\${ORTHANC}|${ORTHANC:-http://$(full_name orthanc):8042}|" \
  "${TEMPLATE:-/opt/ohif/nginx.conf}" >/tmp/viewer/nginx.conf
exec nginx -c /tmp/viewer/nginx.conf -g 'daemon off;'
