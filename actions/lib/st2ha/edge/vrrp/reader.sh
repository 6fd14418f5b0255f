# Run as `sh -s -- TOKEN CONFIG DUMP TENTHS` on a node: addresses, keepalived's processes, its configuration, its own
# JSON dump. Each part begins with a line `TOKEN name`. Nothing is changed but the dump, which keepalived writes itself.
token=$1 config=$2 dump=$3 tenths=$4
part() { printf '\n%s %s\n' "$token" "$*"; }

part addresses
ip -j address
part host
uname -n

# Of all keepalived processes those that manage the addresses seen above: of our network namespace.
here=$(readlink /proc/self/ns/net)
parent= all=" " letters=
for file in /proc/[0-9]*/comm; do
    read -r name 2>/dev/null <"$file" || continue
    [ "$name" = keepalived ] || continue
    pid=${file#/proc/} pid=${pid%/comm}
    [ "$(readlink "/proc/$pid/ns/net")" = "$here" ] || continue
    set -- $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null)
    [ $# -gt 2 ] && [ "$1" != Z ] && [ "$1" != X ] || continue
    part "process $pid $1 $2"
    all="$all$pid " letters=$letters$1
done 2>/dev/null
for pid in $all; do
    up=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d ' ' -f 2)
    case $all in *" $up "*) ;; *) parent=$pid ;; esac
done

words() { tr '\0' '\n' <"/proc/$parent/cmdline" 2>/dev/null; }
root=
if [ -n "$parent" ]; then
    [ -e "/proc/$parent/root/" ] && root=/proc/$parent/root
    part parent "$parent"
    part id
    words | sed -n '/^-i$/{n;p;}; /^--config-id$/{n;p;}; s/^--config-id=//p'
    [ -n "$config" ] || config=$(words | sed -n '/^-f$/{n;p;}; /^--use-file$/{n;p;}; s/^--use-file=//p; s/^-f\(..*\)$/\1/p' | head -n 1)
    [ -n "$dump" ] || dump=$(tr '\0' '\n' <"/proc/$parent/environ" 2>/dev/null | sed -n 's/^TMPDIR=//p' | head -n 1)
fi
[ -n "$config" ] || config=/etc/keepalived/keepalived.conf
[ -n "$dump" ] || dump=/tmp

show() {
    part "config $1"
    cat "$root$1"
    [ "$2" -gt 0 ] || return 0
    sed -n 's/^[[:space:]]*include[a-z]\{0,1\}[[:space:]]\{1,\}//p' "$root$1" | tr -d "\"'" | while read -r pattern; do
        case $pattern in /*) ;; *) pattern=$(dirname "$1")/$pattern ;; esac
        for each in "$root"$pattern; do
            [ -f "$each" ] && show "${each#"$root"}" $(($2 - 1))
        done
    done
}
part main "$config"
show "$config" 10

[ -n "$parent" ] || exit 0
part dump_missing
case $letters in
*[!Tt]*) ;;
*)
    part hung # all of it is stopped: nobody will write a dump
    exit 0
    ;;
esac
# Without JSON support the signal would end keepalived: so its own program is asked for the number.
signal=$("/proc/$parent/exe" --signum=JSON 2>/dev/null)
case $signal in
'' | *[!0-9]*)
    echo 'this keepalived has no JSON dump'
    exit 0
    ;;
esac
file=$root$dump/keepalived.json
before=$(stat -c '%i %y' "$file" 2>/dev/null)
kill -"$signal" "$parent" || exit 0
# By the clock (hundredths of a second, read without a process): on a busy node a turn takes long.
clock() { read -r up _ </proc/uptime && up=${up%.*}${up#*.}; }
clock
end=$((up + tenths * 10))
while [ "$up" -lt "$end" ]; do
    sleep 0.03
    now=$(stat -c '%i %y' "$file" 2>/dev/null)
    if [ "$now" != "$before" ]; then
        case $(tail -c 2 "$file" | tr -d '\n') in
        *']' | *'}')
            part dump
            cat "$file"
            exit 0
            ;;
        esac
    fi
    clock
done
part hung
