import type { Seeded } from './seeded.ts';
import {
  checkpointOf,
  type LogFiles,
  linesOf,
  rechained,
  type SignedStreams,
  segmentFile,
  streamNames,
  withFile,
  withLines,
} from './signed-streams.ts';

export type Mutation = { readonly what: string; readonly files: LogFiles };

/** A random change to a log of two streams: to its bytes, its lines, its notes or the names of its files. */
export function mutationOf(base: LogFiles, streams: SignedStreams, random: Seeded): Mutation {
  const stream = random.pick(streamNames);
  const kind = random.fraction();
  if (kind < 0.35) return bytesChanged(base, segmentFile(stream), random);
  if (kind < 0.55) return bytesChanged(base, checkpointOf(stream), random);
  if (kind < 0.85) return linesChanged(base, stream, streams, random);
  return filesChanged(base, streams, random);
}

function bytesChanged(base: LogFiles, path: string, random: Seeded): Mutation {
  const bytes = base.get(path)!;
  const at = random.between(0, bytes.length - 1);
  if (random.fraction() < 0.5) {
    const flipped = Buffer.from(bytes);
    flipped[at]! ^= random.between(1, 255);
    return { what: `${path}: another byte at ${at}`, files: withFile(base, path, flipped) };
  }
  const removed = random.between(0, 40);
  const put = Buffer.from(Array.from({ length: random.between(0, 8) }, () => random.between(0, 255)));
  const changed = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + removed)]);
  return {
    what: `${path}: ${removed} bytes at ${at} become ${put.toString('hex')}`,
    files: withFile(base, path, changed),
  };
}

function linesChanged(base: LogFiles, stream: string, streams: SignedStreams, random: Seeded): Mutation {
  const lines = linesOf(base, stream);
  const at = random.between(0, lines.length - 1);
  const to = random.between(0, lines.length - 1);
  const from = random.pick([base, streams.older, streams.signed]);
  const foreign = random.pick(linesOf(from, random.pick(streamNames)));
  const edits: [what: string, edit: () => string[]][] = [
    ['moved', () => lines.toSpliced(at, 1).toSpliced(to, 0, lines[at]!)],
    ['removed', () => lines.toSpliced(at, random.between(1, 5))],
    ['repeated', () => lines.toSpliced(to, 0, lines[at]!)],
    ['replaced', () => lines.with(at, foreign)],
    ['joined by a foreign one', () => lines.toSpliced(at, 0, foreign)],
    ['swapped', () => lines.with(at, lines[to]!).with(to, lines[at]!)],
    ['cut at the end', () => lines.slice(0, at)],
    ['changed in a word', () => lines.with(at, word(lines[at]!, random))],
  ];
  const [what, edit] = random.pick(edits);
  const edited = edit();
  const anew = random.fraction() < 0.4;
  const changed = anew ? rechained(edited, Math.min(at, to, edited.length)) : edited;
  return {
    what: `${stream}: line ${at} ${what} (${to})${anew ? ', hashes anew' : ''}`,
    files: withLines(base, stream, changed),
  };
}

function word(line: string, random: Seeded): string {
  const words = [...line.matchAll(/[a-zA-Z0-9]+/g)];
  const found = random.pick(words);
  const other = random.pick(['allowed', 'denied', '0', '1', '99', 'true', 'false', 'null', 'user', 'x']);
  return line.slice(0, found.index) + other + line.slice(found.index + found[0].length);
}

function filesChanged(base: LogFiles, { older, signed }: SignedStreams, random: Seeded): Mutation {
  const names = [...base.keys()];
  const name = random.pick(names);
  const folder = name.slice(0, name.indexOf('/'));
  const edits: [what: string, edit: () => LogFiles][] = [
    ['removed', () => withFile(base, name, null)],
    ['emptied', () => withFile(base, name, '')],
    ['in the place of another', () => withFile(base, random.pick(names), base.get(name)!)],
    ['as it was', () => withFile(base, segmentFile(folder), older.get(segmentFile(folder))!)],
    ['moved', () => withFile(withFile(base, name, null), segmentName(folder, random), base.get(name)!)],
    ['copied', () => withFile(base, segmentName(folder, random), base.get(name)!)],
    ['as a tombstone', () => withFile(base, `${folder}/dropped`, random.pick([...signed.values()]))],
    ['and a made-up tombstone', () => withFile(base, `${folder}/dropped`, tombstone(base, folder, random))],
  ];
  const [what, edit] = random.pick(edits);
  return { what: `${name} ${what}`, files: edit() };
}

function segmentName(folder: string, random: Seeded): string {
  const first = random.pick([0, 1, 2, 36, 65_536, 65_537, 131_073, random.between(0, 2 ** 31)]);
  return `${folder}/${String(first).padStart(16, '0')}.jsonl`;
}

/** Of the form of one, by nobody. */
function tombstone(base: LogFiles, folder: string, random: Seeded): string {
  const note = base.get(checkpointOf(folder))!.toString('utf8');
  const size = random.pick([0, 1, 7, 36, 65_536, 131_072, 2 ** 32, 2 ** 53 - 1]);
  const key = /"key":"([^"]+)"/.exec(linesOf(base, folder)[0]!)![1];
  const more = `dropped 2026-01-01T00:00:00.000Z\nbefore ${'0'.repeat(64)}\nkey ${key}\npeak ${note.split('\n')[2]}\n`;
  return note.replace(/\n\d+\n/, `\n${size}\n`).replace('\n\n', `\n${more}\n`);
}

/**
 * Whether a change is of nothing but what no checkpoint vouches for: the signed lines, the notes and the names are those of
 * the base, and what follows is its lines up to one last line, which may be anything, or is chained anew, or torn.
 */
export function isOfUnsignedEnd(files: LogFiles, base: LogFiles, { signed }: SignedStreams): boolean {
  for (const name of new Set([...base.keys(), ...files.keys()])) {
    const content = files.get(name);
    if (content === undefined || !base.has(name)) return false;
    const vouched = signed.get(name)!;
    const isSigned = content.subarray(0, vouched.length).equals(vouched);
    if (!isSigned || (!name.endsWith('.jsonl') && content.length !== vouched.length)) return false;
  }
  return true;
}
