export const copyLimits = {
  /** Of the line that a reading script begins with. */
  lineBytesMax: 64,
  complaintBytesMax: 4_096,
} as const;

/**
 * What copies do in the sandbox: one POSIX shell each, so that a copy is one command on record. Paths come as parameters and
 * are never part of a script. Relative ones are of /workspace, where commands start.
 */
export const scripts = {
  /** $1: what to hand over. Says `file MODE` or `folder MODE`, and then its bytes or an archive of what is in it. */
  read: [
    'set -e',
    'case $1 in -*) set -- "./$1";; esac',
    'if [ -d "$1" ]; then',
    '  echo folder "$(stat -L -c %a -- "$1")"; exec tar -c -f - --hard-dereference -C "$1" .',
    'elif [ -f "$1" ]; then',
    '  echo file "$(stat -L -c %a -- "$1")"; exec cat "$1"',
    'elif [ -e "$1" ]; then echo "$1 is neither a file nor a folder." >&2; exit 1',
    'else echo "There is no $1." >&2; exit 1; fi',
  ].join('\n'),
  /**
   * $1: where to; $2: the name that it gets in a folder; $3: its mode; $4: its size, or nothing. The file is put into its
   * place once it is whole.
   */
  write: [
    'set -e',
    'case $1 in -*) set -- "./$1" "$2" "$3" "$4";; esac',
    't=$1',
    'if [ -d "$t" ]; then',
    '  [ -n "$2" ] || { echo "$t is a folder: name the file in it." >&2; exit 1; }',
    '  t=$t/$2',
    'fi',
    'if [ -d "$t" ]; then echo "$t is a folder." >&2; exit 1; fi',
    'p=$t.$$.part',
    'trap \'rm -f -- "$p"\' EXIT',
    'cat > "$p"',
    'if [ -n "$4" ] && [ "$(wc -c < "$p")" -ne "$4" ]; then echo "It did not come whole." >&2; exit 1; fi',
    'chmod "$3" "$p"',
    'mv -f "$p" "$t"',
  ].join('\n'),
  /** The same of a folder, which comes as an archive of what is in it. */
  fill: [
    'set -e',
    'case $1 in -*) set -- "./$1" "$2" "$3";; esac',
    't=$1',
    'if [ -d "$t" ]; then t=$t/$2; fi',
    'mkdir -p "$t"',
    'exec tar -x -f - --no-same-owner -C "$t"',
  ].join('\n'),
} as const;
