import { cpuSeconds } from '../egress/profile.ts';
import type { Row } from '../row.ts';
import { type Line, type Peer, untilShown } from './line.ts';

export const bulkFileBytes = 16 * 1024 ** 2;
const withinMs = 600_000;

/** Says `ready`, and after a line of input shows a file of text `times` times, and that it has. */
export function bulkCommand(times: number): string[] {
  const text = 'The quick brown fox jumps over the lazy dog, and 0123456789 times it does so.';
  return [
    'bash',
    '-c',
    `stty raw -echo; file=$(mktemp); yes '${text}' | head -c ${bulkFileBytes} > "$file"; printf ready; read -r _
for ((i = 0; i < ${times}; i++)); do set -- "$@" "$file"; done; cat "$@"; rm "$file"; printf 'all sh''own'; read -r _`,
  ];
}

type Bulk = { readonly seconds: number; readonly bytes: number; readonly cores: string };

async function bulk(line: Line): Promise<Bulk> {
  let bytes = 0;
  let tail = '';
  const pids = Object.entries(line.pids);
  const before = pids.map(([, pid]) => cpuSeconds(pid));
  const shown = Promise.withResolvers<void>();
  const timer = setTimeout(() => shown.reject(new Error(`${line.name} does not end: ${tail}`)), withinMs);
  const startedAt = performance.now();
  line.listen((chunk) => {
    bytes += chunk.length;
    tail = (tail + chunk.subarray(-64).toString('latin1')).slice(-64);
    // In a picture of the screen more may follow it.
    if (tail.includes('all shown') || chunk.includes('all shown')) shown.resolve();
  });
  line.type(Buffer.from('\n'));
  await shown.promise.finally(() => clearTimeout(timer));
  const seconds = (performance.now() - startedAt) / 1_000;
  const cores = pids.map(([name, pid], index) => {
    return `${name} ${((cpuSeconds(pid) - before[index]!) / seconds).toFixed(2)}`;
  });
  return { seconds, bytes, cores: cores.join(', ') };
}

/** A gigabyte, or what `times` times the file are, from the terminal to one who looks. One line after the other. */
export async function bulkRows(
  peers: readonly Peer[],
  ours: Peer & { breaks(): number },
  times: number,
): Promise<Row[]> {
  const all = times * bulkFileBytes;
  const taken: { readonly name: string; readonly one: Bulk }[] = [];
  for (const { name, open } of [ours, ...peers]) {
    const line = await open(bulkCommand(times));
    try {
      await untilShown(line, 'ready');
      taken.push({ name, one: await bulk(line) });
    } finally {
      await line.close();
    }
  }
  const [own, ...others] = taken;
  const rate = ({ seconds }: Bulk) => `${(all / 1e6 / seconds).toFixed(0)} MB/s`;
  return others.map(({ name, one }, index) => ({
    what: `cat of ${(all / 1e9).toFixed(2)} GB to one viewer`,
    figure: rate(own!.one),
    peer: `${name}: ${rate(one)}`,
    ratio: one.seconds / own!.one.seconds,
    ...(index === 0 && {
      note: `${((100 * own!.one.bytes) / all).toFixed(0)} % of it seen, cut and back ${ours.breaks()} times; cores: ${own!.one.cores}`,
    }),
  }));
}
