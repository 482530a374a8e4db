#!/usr/bin/env bash
# Checks the Promela models of the lock, the ring and the outcomes of messages with spin: every run must find nothing, every mutation (a step broken on purpose) must be found.
#   run.sh            everything; about four minutes of processor time
#   run.sh --quick    the smaller runs and all mutations, for CI; a minute and a half of processor time
#   run.sh --deep     everything, and the largest run: three processes, two kills, both come back (6 GB, several minutes)
# Needs spin and a C compiler. What each run covers: docs/LOCK.md, docs/RING.md, docs/PEER-PROTOCOL.md.
set -euo pipefail

size=full
case "${1:-}" in
  "") ;;
  --quick) size=quick ;;
  --deep) size=deep ;;
  *) echo "usage: $0 [--quick|--deep]" >&2; exit 64 ;;
esac
for tool in spin gcc; do
  command -v "$tool" >/dev/null || { echo "$0: $tool is missing; install it with: apt-get install spin gcc libc6-dev" >&2; exit 69; }
done

models=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
jobs_at_once=$(nproc)
(( jobs_at_once > 4 )) && jobs_at_once=4
memory_mb=${MODEL_MEMORY_MB:-3000}
[ "$size" = deep ] && memory_mb=${MODEL_MEMORY_MB:-9000}

# Every state is visited and stored whole (COLLAPSE is lossless); no partial order reduction, which `goto` out of atomic steps defeats.
exhaustive="-w -DNOREDUCE -DCOLLAPSE -DMEMLIM=$memory_mb"

# check NAME MODEL EXPECT PROPERTY [-D...]: EXPECT is "none" or a piece of the error spin must report.
check() {
  local name=$1 model=$2 expect=$3 property=$4
  shift 4
  local dir="$work/$name" compile="-O1 $exhaustive" search="-n -m2000000" start=$SECONDS
  mkdir "$dir"
  if [ "$model" = liveness ] && [[ " $* " == *" -DLTL "* ]]; then
    compile+=" -DNFAIR=3"; search="-n -m2000000 -a -f"
  else
    compile+=" -DSAFETY"
  fi
  [ "$expect" = none ] || compile=${compile/-O1/-O0}   # found within a second: compiling is what takes time
  # shellcheck disable=SC2086
  (cd "$dir" && spin -a "$@" "$models/$model.pml" >spin.log 2>&1 && gcc $compile -o pan pan.c && ./pan $search >pan.log 2>&1) || true
  local log="$dir/pan.log" states errors found verdict=ok
  states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$log" 2>/dev/null | head -1)
  errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$log" 2>/dev/null | head -1)
  found=$(sed -n 's/^pan:1: \(assertion violated\|invalid end state\|acceptance cycle\).*/\1/p' "$log" 2>/dev/null | head -1)
  if [ "$expect" = none ]; then
    [ "${errors:-}" = 0 ] || verdict=FAILED
    grep -qE "max search depth too small|out of memory|reached -DMEMLIM" "$log" 2>/dev/null && verdict=INCOMPLETE
  else
    [ "${errors:-0}" != 0 ] && [[ "$found" == *"$expect"* ]] || verdict=FAILED
    grep -q "invalid array index" "$log" 2>/dev/null && verdict=FAILED   # the model broke, not the algorithm
  fi
  printf '%-10s %-24s %-52s %10s states  errors: %s%s  %ss\n' "$verdict" "$name" "$property" "${states:--}" "${errors:--}" "${found:+ ($found)}" "$((SECONDS - start))"
  if [ "$verdict" = ok ]; then touch "$dir/ok"; else tail -5 "$dir/spin.log" "$log" 2>/dev/null | sed 's/^/    /'; fi
  rm -f "$dir"/pan "$dir"/pan.* "$dir"/*.trail
}

total=0
run() {
  while (( $(jobs -rp | wc -l) >= jobs_at_once )); do wait -n || true; done
  total=$((total + 1))
  check "$@" &
}
safe="exclusion, damage kept, nobody stuck, whole at rest"
in="who wants in gets in"

[ "$size" = deep ] && run safety-deep safety none "$safe" -DCRASHES=2
if [ "$size" != quick ]; then
  run liveness-kill liveness none "$in" -DLTL -DCRASHES=1
  run safety-2-kills-join safety none "$safe" -DCRASHES=2 -DJOINS=1 -DREADERS=2 -DWRITERS=5
  run safety-timeouts safety none "$safe" -DCRASHES=1 -DTIMEOUTS=1 -DJOINS=1 -DREADERS=2 -DWRITERS=5
  run liveness-kill-reader liveness none "$in" -DLTL -DCRASHES=1 -DREADERS=5 -DWRITERS=2
  run liveness-kill-stop liveness none "$in" -DLTL -DCRASHES=1 -DSTOPS=1 -DREADERS=2 -DWRITERS=5
  run safety-no-reason safety none "$safe" -DCRASHES=1 -DSPURIOUS=1 -DJOINS=0
fi
truth="delivered is shown, failed never appears, nothing twice"
if [ "$size" != quick ]; then
  run outcomes-repeat-kill outcomes none "$truth" -DATTEMPTS=2 -DCRASHES=1
fi
run outcomes-repeat outcomes none "$truth" -DATTEMPTS=2 -DCRASHES=0
run outcomes-kill outcomes none "$truth" -DATTEMPTS=1 -DCRASHES=1
ring="whole, once, in order, nothing lost, none stuck"
if [ "$size" != quick ]; then
  run ring-2-writers-kill ring none "$ring" -DCRASHES=1 -DMESSAGES=1
fi
run ring-no-kill ring none "$ring" -DCRASHES=0
run ring-2-kills-writers ring none "$ring" -DCRASHES=2 -DREADERS=1
run ring-2-kills-readers ring none "$ring" -DCRASHES=2 -DWRITERS=1 -DMESSAGES=3
run safety-no-kill safety none "$safe" -DCRASHES=0
run safety-1-kill safety none "$safe" -DCRASHES=1
run safety-2-kills safety none "$safe" -DCRASHES=2 -DJOINS=0
run safety-no-repairer safety none "$safe" -DCRASHES=2 -DJOINS=0 -DREPAIRERS=6 -DREADERS=2 -DWRITERS=5
run safety-2-procs safety none "$safe" -DNP=2 -DNS=2 -DCRASHES=3 -DCLOSES=1 -DREADERS=3 -DWRITERS=3
run liveness-deadlock liveness none "nobody stuck" -DCRASHES=1 -DREADERS=2 -DWRITERS=5
run liveness-no-kill liveness none "$in" -DLTL -DCRASHES=0
run liveness-stop liveness none "$in" -DLTL -DCRASHES=0 -DSTOPS=1
run liveness-1-kill liveness none "$in" -DLTL -DCRASHES=1 -DREADERS=2 -DWRITERS=5

broken() { run "$@"; }
broken mut-no-e8 safety assertion "E8 dropped" -DCRASHES=2 -DMUT_NO_E8
broken mut-e8-first safety assertion "epoch read before INSIDE is published (E8, E7)" -DCRASHES=2 -DMUT_E8_FIRST
broken mut-no-tag safety assertion "readers changed without their epoch's tag (E6, L2)" -DCRASHES=2 -DMUT_NO_TAG
broken mut-one-name safety "" "all epochs use the same semaphores (R7)" -DCRASHES=2 -DMUT_ONE_NAME
broken mut-post-repair safety assertion "recovery by posting" -DCRASHES=2 -DMUT_POST_REPAIR
broken mut-no-r3 safety assertion "epoch not closed before R4 (R3)" -DCRASHES=2 -DMUT_NO_R3
broken mut-no-r4 safety assertion "does not wait for who is inside (R4)" -DCRASHES=2 -DMUT_NO_R4
broken mut-idle-first safety "invalid end" "IDLE before the tokens are back (L4, L2)" -DCRASHES=2 -DMUT_IDLE_FIRST
broken mut-late-want safety "invalid end" "WANT published after the queue is taken (E1, E3)" -DCRASHES=2 -DMUT_LATE_WANT
broken mut-forget-damage safety assertion "dead writer wiped like any other (R4)" -DCRASHES=2 -DMUT_FORGET_DAMAGE
broken mut-early-clear safety assertion "damage forgotten before it is repaired (R5)" -DCRASHES=2 -DJOINS=0 -DMUT_EARLY_CLEAR -DREPAIRERS=6 -DREADERS=2 -DWRITERS=5
broken mut-claim-dead safety assertion "newcomer takes a dead one's slot (J2)" -DCRASHES=2 -DMUT_CLAIM_DEAD
broken mut-j3-open safety "" "takes a dead one's slot, epoch left open (J3)" -DCRASHES=2 -DMUT_J3_OPEN
broken mut-cancel-early safety "invalid end" "IDLE while a waiter may still take the token (E3)" -DCRASHES=2 -DTIMEOUTS=1 -DMUT_CANCEL_EARLY
broken mut-undo-keeps safety "invalid end" "gives up without giving the queue back (E6)" -DCRASHES=2 -DTIMEOUTS=1 -DMUT_UNDO_KEEPS
broken mut-visit-keeps safety assertion "leaves damaged data with the tokens (E8)" -DCRASHES=2 -DMUT_VISIT_KEEPS -DREPAIRERS=6
broken mut-no-courtesy liveness acceptance "nobody yields (E4)" -DLTL -DCRASHES=0 -DMUT_NO_COURTESY
broken mut-any-elder liveness acceptance "yields to some older one, not the oldest (E4)" -DLTL -DCRASHES=0 -DMUT_ANY_ELDER
broken mut-no-memory liveness acceptance "yields to a stopped one again and again (E4)" -DLTL -DCRASHES=0 -DSTOPS=1 -DMUT_NO_MEMORY
broken mut-no-look liveness acceptance "sleepers never look for the dead (E3, E6)" -DLTL -DCRASHES=1 -DMUT_NO_LOOK
broken mut-delivered-early outcomes assertion "accepted before the output" -DMUT_DELIVERED_EARLY
broken mut-no-check outcomes assertion "output looks for no revoke" -DMUT_NO_CHECK
broken mut-no-drain outcomes assertion "revokes that wait in the socket are not read" -DMUT_NO_DRAIN
broken mut-forget-revoke outcomes assertion "a revoke is answered and forgotten" -DMUT_NO_MEMORY
broken mut-answer-stuck outcomes assertion "\"not shown\" while the output has begun" -DMUT_ANSWER_STUCK
broken mut-any-process outcomes assertion "\"not shown\" from a successor counts" -DMUT_ANY_PROCESS
broken mut-fail-silent outcomes assertion "silence is taken for \"not shown\"" -DMUT_FAIL_SILENT
broken mut-no-seen outcomes assertion "the log of ids is not asked" -DMUT_NO_SEEN
broken mut-log-first outcomes assertion "logged before the output" -DMUT_LOG_FIRST
broken mut-end-stuck outcomes assertion "the goodbye disowns a text that is being shown" -DMUT_END_STUCK
broken mut-no-again outcomes assertion "a second showing is not marked" -DATTEMPTS=1 -DMUT_NO_AGAIN
broken mut-early-tail ring assertion "the tail before the bytes (W3, W2)" -DCRASHES=1 -DMUT_EARLY_TAIL
broken mut-steal-alive ring assertion "a takeover that does not check the owner's life (W1)" -DCRASHES=1 -DMUT_STEAL_ALIVE
broken mut-no-count ring assertion "a takeover of a word that has changed (W1)" -DCRASHES=1 -DREADERS=1 -DMUT_NO_COUNT
broken mut-no-clear ring "invalid end" "a newcomer leaves its predecessor's lock (JOIN)" -DCRASHES=1 -DREADERS=1 -DMUT_NO_CLEAR
broken mut-head-first ring assertion "the head before the copy (R3, R2)" -DCRASHES=1 -DMUT_HEAD_FIRST
wait

passed=$(find "$work" -name ok | wc -l)
echo "model: $passed of $total runs as expected ($size), ${SECONDS}s"
[ "$passed" = "$total" ]
