#!/usr/bin/env bash
# Builds the images, runs studies through the containers, and says what held.
#   docker/test.sh [--no-build]     --no-build: the images are there already
#   CONTAINER=docker|podman         the engine; else docker where its daemon answers, else podman
#   COMPOSE="..."                   the compose command; else the engine's own
#   BASE=... EXTRAS=...             the images' build arguments
#   WEB_PORT, DICOM_PORT, ORTHANC_PORT, VIEWER_PORT    ports on this machine's loopback
# Leaves nothing behind but the images. Exit status: 0 all held, 1 something did not, 2 a part is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly PROJECT=orthanc-al-test
export WEB_PORT=${WEB_PORT:-18080} DICOM_PORT=${DICOM_PORT:-21112} ORTHANC_PORT=${ORTHANC_PORT:-18042}
export VIEWER_PORT=${VIEWER_PORT:-13000}
export BUILDAH_FORMAT=docker # podman's own format has no health check

missing() {
  echo "$1" >&2
  exit 2
}

find_engine() {
  if docker info >/dev/null 2>&1; then
    echo docker
  elif podman info >/dev/null 2>&1; then
    echo podman
  fi
}

find_compose() {
  if [ "$CONTAINER" = docker ] && docker compose version >/dev/null 2>&1; then
    echo "docker compose"
  elif [ "$CONTAINER" = docker ] && command -v docker-compose >/dev/null; then
    echo docker-compose
  elif [ "$CONTAINER" = podman ] && command -v podman-compose >/dev/null; then
    echo podman-compose
  fi
}

CONTAINER=${CONTAINER:-$(find_engine)}
[ -n "$CONTAINER" ] || missing "No container engine answers: install docker, or podman and podman-compose."
COMPOSE=${COMPOSE:-$(find_compose)}
[ -n "$COMPOSE" ] || missing "No compose for $CONTAINER: install docker-compose-plugin, or podman-compose."
command -v curl >/dev/null || missing "curl is missing."

compose() { $COMPOSE -f docker/compose.yaml -p "$PROJECT" "$@"; } # COMPOSE may be two words
container() {                                                    # SERVICE: its id
  "$CONTAINER" ps -aq --filter "label=com.docker.compose.project=$PROJECT" \
    --filter "label=com.docker.compose.service=$1"
}

failed=0
say() { # PROMISE COMMAND...: runs it, and says whether it held
  local promise=$1
  shift
  if "$@" >"$folder/seen" 2>&1; then
    echo "ok     $promise"
  else
    echo "FAILED $promise"
    tail -n 20 "$folder/seen" | sed 's/^/         /'
    failed=1
  fi
}

clean_up() {
  local status=$?
  if [ "$status" != 0 ] || [ "$failed" != 0 ]; then
    for service in orthanc_al orthanc viewer; do
      echo "--- the last lines of $service"
      "$CONTAINER" logs --tail 40 "$(container "$service")" 2>&1 || true
    done
  fi
  compose down --volumes >/dev/null 2>&1 || true
  rm -rf "$folder"
}

is_healthy() {
  if [ "$CONTAINER" = podman ]; then # asks now: without systemd it has no timer of its own
    podman healthcheck run "$(container orthanc_al)"
  else
    [ "$(docker inspect -f '{{.State.Health.Status}}' "$(container orthanc_al)")" = healthy ]
  fi
}

becomes_healthy() {
  for _ in $(seq 120); do
    if is_healthy; then return 0; fi
    sleep 1
  done
  return 1
}

runs_as_nobody_special() { # SERVICE
  local id
  id=$("$CONTAINER" exec "$(container "$1")" id -u)
  echo "user id $id"
  [ "$id" != 0 ]
}

page() { # PASSWORD: the status that this machine gets at the published port
  curl --silent --max-time 20 --output "$folder/page" --write-out '%{http_code}' --user "any:$1" \
    "http://127.0.0.1:$WEB_PORT/api/v1/worklist"
}

password() { "$CONTAINER" exec "$(container orthanc_al)" cat secrets/web__password; }

opens_with_the_password_alone() {
  [ "$(page wrong)" = 401 ] && [ "$(page "$(password)")" = 200 ]
}

viewer() { # PASSWORD PATH: the status; what came is in $folder/viewed
  curl --silent --max-time 20 --output "$folder/viewed" --write-out '%{http_code}' --user "any:$1" \
    "http://127.0.0.1:$VIEWER_PORT$2"
}

viewer_opens_with_the_password_alone() {
  for path in / /dicom-web/studies /al/api/v1/me; do
    [ "$(viewer wrong "$path")" = 401 ] || return 1
    [ "$(viewer "$(password)" "$path")" = 200 ] || return 1
  done
}

viewer_has_the_studies() { # that were sent, from Orthanc
  viewer "$(password)" /dicom-web/studies >/dev/null
  [ "$(grep -o '"0020000D"' "$folder/viewed" | wc -l)" -gt 0 ]
}

logs_keep_secrets() {
  "$CONTAINER" logs "$(container orthanc_al)" >"$folder/log" 2>&1
  [ -s "$folder/log" ] && ! grep -F -e "$(password)" -e 'Demo^' -e DEMO0 "$folder/log"
}

# A modality: another machine of the stack's network, without its volumes.
send() {
  local id network image
  id=$(container orthanc_al)
  network=$("$CONTAINER" inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$id")
  image=$("$CONTAINER" inspect -f '{{.Image}}' "$id")
  "$CONTAINER" run --rm --interactive --network "$network" --entrypoint python \
    -e ORTHANC_AL_DICOM__HOST=orthanc_al -e ORTHANC_AL_WEB__HOST=127.0.0.1 \
    "$image" - send <docker/test_inside.py >"$folder/sent"
}

reports_to_nobody() { # where ONNX Runtime keeps what it is to send, and its name for this machine
  "$CONTAINER" exec "$(container orthanc_al)" sh -c '! ls -d .cache/Microsoft'
}

stops_in_order() {
  local id begun
  id=$(container orthanc_al)
  begun=$SECONDS
  "$CONTAINER" stop -t 15 "$id"
  echo "$((SECONDS - begun)) s, exit status $("$CONTAINER" inspect -f '{{.State.ExitCode}}' "$id")"
  [ "$("$CONTAINER" inspect -f '{{.State.ExitCode}}' "$id")" = 0 ] && [ $((SECONDS - begun)) -le 15 ]
}

studies() { # on the worklist, in their order
  page "$(password)" >/dev/null
  grep -o '"study_instance_uid":"[0-9.]*"' "$folder/page"
}

comes_back() { # PASSWORD, with the studies of before, in new containers
  compose down
  compose up --no-build --detach
  becomes_healthy && [ "$(password)" = "$1" ] && [ "$(studies)" = "$(cat "$folder/studies")" ]
}

folder=$(mktemp -d)
trap clean_up EXIT
if [ "${1:-}" != --no-build ]; then compose build; fi
compose down --volumes >/dev/null 2>&1 || true # of a run that was cut off
compose up --no-build --detach
say "orthanc_al becomes healthy" becomes_healthy
for service in orthanc_al orthanc viewer; do say "$service is not run by root" runs_as_nobody_special "$service"; done
say "the published page opens with the password alone" opens_with_the_password_alone
say "a modality's studies are acknowledged" send
"$CONTAINER" exec --interactive "$(container orthanc_al)" python - check "$(cat "$folder/sent")" \
  <docker/test_inside.py || failed=1
say "the viewer opens with the password alone" viewer_opens_with_the_password_alone
say "the viewer has the studies" viewer_has_the_studies
say "no password and no patient is in the log" logs_keep_secrets
say "ONNX Runtime gathers nothing for its maker" reports_to_nobody
studies >"$folder/studies"
before=$(password)
say "SIGTERM ends it in order, within 15 s" stops_in_order
say "new containers have the same password and worklist" comes_back "$before"
exit "$failed"
