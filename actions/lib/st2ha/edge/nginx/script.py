"""What runs on a balancer: a shell script to read all of it, one to write, test and load. They come by standard input.

The write is safe against being killed at any moment: files are replaced by rename; a file that nginx refuses is put
back in the same script; what was replaced is kept beside it, under a name that no `include *` of nginx matches.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence

CHANGED, NGINX_REFUSES, NOT_TOLD = 75, 76, 77
TARGET = """
target() { file=$1; if [ -L "$1" ]; then file=$(readlink -f -- "$1"); fi; }
"""
READ = (
    TARGET
    + r"""
exec 2>&1
part() { printf '\n%s %s\n' "$boundary" "$1"; }
words=$("$program" -T -q -c "$config" 2>&1)
code=$?
part "test $code"
printf '%s\n' "$words"
part files
printf '%s\n' "$words" | sed -n 's/^# configuration file \(.*\):$/\1/p' |
  xargs -r -d '\n' stat -L -c '%.3Y %n' --
part now
date +%s.%N
part processes
process() { # without ps, which takes longer than all the rest; started: in hundredths of a second
  stat=; title=; { read -r stat <"/proc/$1/stat"; read -r title <"/proc/$1/cmdline"; } 2>/dev/null
  set -- ${stat##*) }
  started=${20:-}
}
pid=; { read -r pid <"$pid_file"; } 2>/dev/null
if [ -n "$pid" ] && [ -d "/proc/$pid" ]; then
  process $$; now=$started
  children=; { read -r children <"/proc/$pid/task/$pid/children"; } 2>/dev/null
  for each in $pid ${children:-$(ps -o pid= --ppid "$pid")}; do
    process "$each"
    if [ -n "$started" ] && [ -n "$title" ]; then # one that has ended, and is not buried yet, has no title
      echo "$each $((now - started)) $title"
    fi
  done
fi
part vip
[ -z "$vip" ] || ip -o address show to "$vip"
content() { if [ -e "$1" ]; then printf 'is '; base64 -w0 -- "$1"; echo; else echo absent; fi; }
owned() {
  target "$1"; dir=${file%/*}; name=${file##*/}
  part "owned $1"
  if [ -w "$file" ] && [ -w "$dir" ]; then echo writable; else echo readonly; fi
  former=$dir/.$name.st2ha-old
  if [ -e "$former" ]; then echo unfinished; else echo finished; former=$dir/.$name.st2ha-former; fi
  content "$file"
  content "$former"
}
"""
)
WRITE = (
    TARGET
    + r"""
set -eu
digest() { now=absent; if [ -e "$1" ]; then now=$(sha256sum <"$1"); now=${now%% *}; fi; }
placed= written=
place() {
  if [ "$placed" = "$1" ]; then return 0; fi
  placed=$1; target "$1"; old=${file%/*}/.${file##*/}.st2ha
}
check() {
  place "$1"
  digest "$file"
  if [ "$now" = "$3" ]; then written="$written|$1|"; return 0; fi
  if [ "$now" != "$2" ]; then echo "$1 has changed since it was read" >&2; exit 75; fi
}
put() {
  case $written in *"|$1|"*) return 0 ;; esac
  place "$1"
  cp -p -- "$file" "$old-new"
  base64 -d >"$old-new"
  digest "$old-new"
  if [ "$now" != "$2" ]; then echo "$1 could not be written" >&2; exit 74; fi
  sync -- "$old-new"
  if [ ! -e "$old-old" ]; then ln -- "$file" "$old-old"; fi
  mv -- "$old-new" "$file"
}
back() { place "$1"; rm -f -- "$old-new"; if [ -e "$old-old" ]; then mv -- "$old-old" "$file"; fi; }
load() { # a signal to what is nginx, as `-s reload` would send it after reading all files once more
  pid=; title=; { read -r pid <"$pid_file"; read -r title <"/proc/$pid/cmdline"; } 2>/dev/null || :
  case $title in
    *"master process"*)
      workers=; read -r workers 2>/dev/null <"/proc/$pid/task/$pid/children" || :
      kill -s HUP "$pid" ;;
    *) workers=; "$program" -s reload -c "$config" ;;
  esac
}
retired() { # the former workers take no connection any more; a reload that failed in silence shows in the proof
  tries=200
  if [ -n "$workers" ]; then sleep 0.09; fi # nginx itself sleeps for 0.1 s before it tells them
  for each in $workers; do
    while [ "$tries" -gt 0 ]; do
      title=; read -r title 2>/dev/null <"/proc/$each/cmdline" || :
      case $title in *"worker process"*"shutting down"*) break ;; *"worker process"*) ;; *) break ;; esac
      sleep 0.005; tries=$((tries - 1))
    done
  done
}
keep() {
  place "$1"
  if [ ! -e "$old-old" ]; then return 0; fi
  if [ "$keep_former" = yes ]; then mv -- "$old-old" "$old-former"; else rm -- "$old-old"; fi
}
"""
)


def read_script(boundary: str, program: str, config: str, pid_file: str, vip: str, owned: Sequence[str]) -> bytes:
    """Prints parts, each after a line of `boundary` and its name."""
    head = _variables(boundary=boundary, program=program, config=config, pid_file=pid_file, vip=vip)
    tail = "".join(f"owned {shlex.quote(path)}\n" for path in owned)
    return (head + READ + tail + "exit 0\n").encode()


def write_script(
    program: str, config: str, pid_file: str, files: Mapping[str, tuple[str, str, bytes]], keep_former: bool
) -> bytes:
    """`files`: path -> digest as read, digest to be, content. CHANGED or NGINX_REFUSES: nothing was written.

    NOT_TOLD: the files are in place and tested, and what runs is what ran before.
    """
    quoted = {path: shlex.quote(path) for path in files}
    each = " ".join(quoted.values())
    keep = "yes" if keep_former else "no"
    lines = [_variables(program=program, config=config, pid_file=pid_file, keep_former=keep), WRITE]
    lines += [f"check {quoted[path]} {was} {to_be}\n" for path, (was, to_be, _) in files.items()]
    undo = f'for each in {each}; do back "$each"; done'
    lines.append(f"trap {shlex.quote(undo)} EXIT\n")
    for path, (_, to_be, content) in files.items():
        lines.append(f"put {quoted[path]} {to_be} <<'END'\n{base64.encodebytes(content).decode()}END\n")
    lines.append(
        'if ! words=$("$program" -t -q -c "$config" 2>&1); then printf "%s\\n" "$words" >&2; exit 76; fi\n'
        "trap - EXIT\ntold=yes\nload || told=no\n"
        f'for each in {each}; do keep "$each"; done\n'
        f'if [ "$told" = no ]; then exit {NOT_TOLD}; fi\nretired\n'
    )
    return "".join(lines).encode()


def _variables(**values: str) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
