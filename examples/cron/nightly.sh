#!/usr/bin/env bash
# A night of llmrec from cron. Times are UTC, and the run date is today's: the lists for today, from the events before.
#
#   CRON_TZ=UTC
#   MAILTO=data@example.org
#   15 2 * * *  LLMREC_CONFIG=/opt/llmrec/night.yaml /opt/llmrec/examples/cron/nightly.sh
#
# Silent when all went well. What goes wrong is said on stderr, which cron mails, and the exit code is that of the job
# that failed (docs/operations.md), or 75 if another run is still at work. `nightly.sh 2026-01-31` makes up a night. A
# weekly training is a second line with LLMREC_JOBS="prepare train". LLMREC_SUBMIT_FLAGS are for spark-submit, as in
# docs/deployment.md.
set -euo pipefail

home=${LLMREC_HOME:-$(cd "$(dirname "$0")/../.." && pwd)}
config=${LLMREC_CONFIG:-$home/night.yaml}
logs=${LLMREC_LOGS:-$home/logs}
jobs=${LLMREC_JOBS:-prepare score evaluate report}
keep=${LLMREC_KEEP_LOGS:-30} # files, so as many days for one run a day
run_date=${1:-$(date -u +%F)}

mkdir -p "$logs"
exec 9>"$logs/lock"
if ! flock --nonblock 9; then
  echo "llmrec: another run is at work (lock $logs/lock); nothing was done for $run_date" >&2
  exit 75
fi

log=$logs/$run_date-$(date -u +%H%M%S).log
find "$logs" -maxdepth 1 -name '*.log' -printf '%T@ %p\n' | sort -rn | cut -d' ' -f2- |
  tail -n +"$keep" | tr '\n' '\0' | xargs -0 -r rm -f --

# The jobs' own environment, where there is one; else spark-submit and Java are on the PATH.
[ -f "$home/.venv/java.env" ] && . "$home/.venv/java.env"
PATH=$home/.venv/bin:$PATH

for job in $jobs; do
  code=0
  # The job inherits the lock: should this script be killed, no other run starts while the job is alive.
  spark-submit ${LLMREC_SUBMIT_FLAGS:-} "$home/jobs/$job.py" --config "$config" --run-date "$run_date" \
    >>"$log" 2>&1 || code=$?
  if [ "$code" -ne 0 ]; then
    echo "llmrec: $job for $run_date ended with exit code $code; docs/operations.md says what to do. $log ends with:" >&2
    tail -n 20 "$log" >&2
    exit "$code"
  fi
done
