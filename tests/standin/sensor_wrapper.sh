#!/bin/sh
# Stands in for a sensor process (a shell: it starts in a millisecond): logs its start and its end, ends on SIGTERM.
trap 'kill $SLEEP; sleep "$STOP_S"; echo "stop $REF $NODE $$" >>"$LOG"; exit 0' TERM
echo "start $REF $NODE $$" >>"$LOG"
sleep 1000 &
SLEEP=$!
wait
