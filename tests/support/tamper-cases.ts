import { keyActions, rotationData } from '../../src/audit/key-notes.ts';
import { noteSigner, type VerifierKey } from '../../src/audit/signed-note.ts';
import type { VerifyOptions } from '../../src/audit/verify.ts';
import { canonicalJson } from '../../src/base/canonical-json.ts';
import {
  checkpointOf,
  type LogFiles,
  linesOf,
  logFolder,
  newKey,
  originIn,
  rechained,
  remade,
  type SignedStreams,
  segmentFile,
  signedOver,
  withFile,
  withLines,
} from './signed-streams.ts';

/** A change to a log that must be found; `kept` and `keys` are what whoever verifies holds. */
export type TamperCase = {
  readonly what: string;
  readonly files: LogFiles;
  readonly held?: VerifyOptions;
  /** Where it is found; `stream` is the folder's name. */
  readonly stream: string;
  readonly seq?: number;
  /** Found only by what is held: without that it passes. */
  readonly passesWithout?: boolean;
};

const stream = 'control';
const other = 'runner-aaaaaa';
const stranger = newKey();

/** Everything that can be done to lines of a stream whose last line is signed. */
function lineCases({ signed }: SignedStreams): TamperCase[] {
  const lines = linesOf(signed, stream);
  const foreign = linesOf(signed, other);
  const last = lines.length - 1;
  const changed = (what: string, to: readonly string[], seq?: number): TamperCase => ({
    what,
    files: withLines(signed, stream, to),
    stream,
    ...(seq === undefined ? {} : { seq }),
  });
  return [
    changed('the first line removed', lines.slice(1), 1),
    changed('a line in the middle removed', lines.toSpliced(15, 1), 16),
    changed('the last line removed', lines.slice(0, -1), lines.length),
    changed('the last seven lines removed', lines.slice(0, -7), lines.length - 6),
    changed('all but the first line removed', lines.slice(0, 1), 2),
    changed('every line removed', []),
    changed('two lines swapped', lines.with(9, lines[10]!).with(10, lines[9]!), 10),
    changed('the last two lines swapped', lines.with(last - 1, lines[last]!).with(last, lines[last - 1]!)),
    changed('a line repeated', lines.toSpliced(9, 0, lines[9]!), 11),
    changed('the last line repeated', [...lines, lines[last]!], lines.length + 1),
    changed('a line of the other stream put in', lines.toSpliced(9, 0, foreign[9]!), 10),
    changed('a made-up line put in', lines.toSpliced(9, 0, lines[9]!.replace('run.1-3', 'run.x'))),
    changed('lines put in and hashes made anew', rechained(lines.toSpliced(9, 0, lines[9]!), 9)),
    changed('a line removed and hashes made anew', rechained(lines.toSpliced(9, 1), 9)),
    changed('lines swapped and hashes made anew', rechained(lines.with(9, lines[8]!).with(8, lines[9]!), 8)),
    changed('a suffix replaced and hashes made anew', suffixOf(lines)),
    changed('the last line replaced by another', lines.with(last, foreign[last]!)),
    changed('the last line made up', lines.with(last, lines[last]!.replace('"allow":true', '"allow":false'))),
    changed('a shorter log made anew', rechained(lines.slice(0, 20)), 21),
    changed('the end of one log behind the start of the other', [
      ...lines.slice(0, 20),
      ...foreign.slice(20),
    ]),
    changed('one log behind the other', [...lines, ...foreign], lines.length + 1),
    { what: 'the other log in its place', files: withLines(signed, stream, foreign), stream, seq: 1 },
  ];
}

const suffixOf = (lines: readonly string[]) =>
  rechained(
    lines.map((line, index) =>
      index < 25 ? line : line.replace('"outcome":"allowed"', '"outcome":"denied"'),
    ),
    25,
  );

/** Other spellings: as a change alone, and with everything signed anew by a key that nobody asks about. */
function spellingCases({ signed }: SignedStreams): TamperCase[] {
  const lines = linesOf(signed, stream);
  const spellings: [what: string, from: string, to: string][] = [
    ['a member twice', '"n":11', '"n":11,"n":11'],
    ['a member twice at the top', '"v":2}', '"v":2,"v":2}'],
    ['another member first', '"action":"run.0-1"', '"action":"x","action":"run.0-1"'],
    ['an unknown member', '"v":2}', '"v":2,"w":1}'],
    ['a number with a fraction', '"n":11', '"n":11.0'],
    ['a number with an exponent', '"n":11', '"n":1.1e1'],
    ['a number of many digits', '1.5', '1.50000000000000000001'],
    ['a space', '"n":11', '"n": 11'],
    ['an escaped letter', '"café"', '"caf\\u00e9"'],
    ['an escaped solidus', '"café"', '"caf\\/é"'],
    ['a control character in capital hexadecimal', '\\u0007', '\\U0007'],
    ['a lone surrogate', '"café"', '"\\ud800"'],
    [
      'members in another order',
      '"allow":true,"rule":"scope:run:write"',
      '"rule":"scope:run:write","allow":true',
    ],
    ['another version', '"v":2}', '"v":3}'],
    ['a sequence number as a string', '"seq":3', '"seq":"3"'],
  ];
  return spellings.flatMap(([what, from, to]) => {
    const respelled = lines.with(2, lines[2]!.replace(from, to));
    return [
      { what, files: withLines(signed, stream, respelled), stream, seq: 3 },
      {
        what: `${what}, all signed anew`,
        files: remade(signed, stream, respelled, stranger),
        stream,
        seq: 3,
      },
    ];
  });
}

/** Bytes that JSON or an editor would not mind. */
function byteCases({ signed }: SignedStreams): TamperCase[] {
  const path = segmentFile(stream);
  const text = signed.get(path)!.toString('utf8');
  const lines = linesOf(signed, stream);
  const changed = (what: string, to: string | Buffer, seq?: number): TamperCase => ({
    what,
    files: withFile(signed, path, to),
    stream,
    ...(seq === undefined ? {} : { seq }),
  });
  const decomposed = lines.map((line) => line.normalize('NFD')).map((line) => `${line}\n`);
  return [
    changed('CRLF at every line', text.replaceAll('\n', '\r\n'), 1),
    changed('CR at the last line', text.replace(/\n$/, '\r\n'), lines.length),
    changed('an empty line in the middle', text.replace('\n', '\n\n'), 2),
    changed('an empty line at the end', `${text}\n`, lines.length + 1),
    changed('a NUL at the end', `${text}\0\n`, lines.length + 1),
    changed('a byte order mark', `\ufeff${text}`, 1),
    changed('accents decomposed', decomposed.join('')),
    changed('one accent decomposed', text.replace('café', 'cafe\u0301'), 2),
    changed('no UTF-8', Buffer.from(text.replace('café', 'caf\u00ff'), 'latin1')),
    changed('the last newline removed', text.slice(0, -1), lines.length),
    changed('UTF-16', Buffer.from(text, 'utf16le'), 1),
  ];
}

/** What is done to the checkpoint, and to the log with it. */
function checkpointCases(streams: SignedStreams): TamperCase[] {
  const { signed, older, kept } = streams;
  const path = checkpointOf(stream);
  const lines = linesOf(signed, stream);
  const note = signed.get(path)!.toString('utf8');
  const origin = originIn(signed, stream);
  const byStranger = signedOver(lines, origin, stranger);
  const changed = (what: string, to: string | Buffer | null, from = signed): TamperCase => ({
    what,
    files: withFile(from, path, to),
    stream,
  });
  const suffix = withLines(signed, stream, suffixOf(lines));
  return [
    changed('the checkpoint removed', null),
    changed('the checkpoint empty', ''),
    changed('a checkpoint by another key', byStranger),
    changed('the checkpoint of the other stream', signed.get(checkpointOf(other))!),
    changed('a checkpoint twice', note + note),
    changed('a line more in the checkpoint', note.replace('\n\n', '\nmore\n\n')),
    changed('a checkpoint with CRLF', note.replaceAll('\n', '\r\n')),
    changed('a checkpoint without signature', note.slice(0, note.indexOf('\n\n') + 2)),
    changed('a suffix made anew and the checkpoint removed', null, suffix),
    changed(
      'a suffix made anew and a checkpoint by another key',
      signedOver(suffixOf(lines), origin, stranger),
      suffix,
    ),
    changed('the lines of before with the checkpoint of now', note, older),
    {
      what: 'lines and checkpoint of before, while one of now is kept',
      files: new Map([...signed, ...[...older].filter(([name]) => name.startsWith('control/'))]),
      held: { kept },
      stream,
    },
    {
      what: 'lines and checkpoint of before, while the other stream has recorded more',
      files: new Map([...signed, ...[...older].filter(([name]) => name.startsWith('control/'))]),
      stream,
    },
    {
      what: 'every stream and checkpoint of before, while those of now are kept',
      files: older,
      held: { kept },
      stream,
      passesWithout: true,
    },
  ];
}

/** A log that is made anew by another key, which only what is held elsewhere tells apart. */
function forgeryCases(streams: SignedStreams): TamperCase[] {
  const { signed, kept, keys, privateKeys } = streams;
  const lines = linesOf(signed, stream);
  const alone = new Map([...signed].filter(([name]) => name.startsWith('control/')));
  const whole = remade(signed, stream, lines.with(9, lines[9]!.replace('run.1-2', 'run.x')), stranger);
  // What it recorded of the other stream would tell that this one is not here.
  const own = lines.filter((line) => !line.includes('audit.heartbeat'));
  const wholeAlone = remade(alone, stream, own.toSpliced(9, 1), stranger);
  const genesis = remade(alone, stream, lines.slice(0, 1), stranger);
  const fresh = remade(
    alone,
    stream,
    lines.slice(0, 1),
    stranger,
    originIn(signed, stream).replace(/evt_\w+/, 'evt_fresh'),
  );
  const trusting = { keys: [keys.control] };
  const held = { kept: kept.slice(0, 1) };
  const forged = (
    what: string,
    files: LogFiles,
    asked: VerifyOptions,
    passesWithout: boolean,
  ): TamperCase => ({
    what,
    files,
    held: asked,
    stream,
    passesWithout,
  });
  return [
    forged('made anew by another key, while the key is known', wholeAlone, trusting, true),
    forged('made anew by another key, while a checkpoint is kept', wholeAlone, held, true),
    forged('made anew by another key, while the other stream has recorded it', whole, {}, false),
    forged(
      'made anew by another key that hands over to the known one',
      handedOver(alone, own, keys.control),
      trusting,
      true,
    ),
    forged('a fresh beginning, while the key is known', genesis, trusting, true),
    forged('a fresh beginning, while a checkpoint is kept', genesis, held, true),
    forged('a fresh beginning of another name, while a checkpoint is kept', fresh, held, true),
    forged(
      'a fresh beginning of another name, while the other stream has recorded it',
      new Map([...signed, ...fresh]),
      {},
      false,
    ),
    forged('removed with all others, while a checkpoint is kept', new Map(), { kept }, false),
    forged('removed, while the other stream has recorded it', without(signed, `${stream}/`), {}, false),
    forged(
      'its only file removed, while the other stream has recorded it',
      without(signed, segmentFile(stream)),
      {},
      false,
    ),
    {
      what: 'another one of its name beside it',
      files: new Map([...signed, ...besideIt(remade(alone, stream, own, stranger))]),
      stream: 'x',
    },
    forged(
      'made anew by the key of the other stream, while both keys are known',
      remade(alone, stream, own, privateKeys[other]),
      { keys: [keys.control, keys[other]] },
      true,
    ),
  ];
}

/** Made for a folder of its own. */
function besideIt(files: LogFiles): LogFiles {
  const lines = linesOf(files, stream)
    .filter((_, index) => index === 0)
    .map((line) => line.replace(`"stream":"${stream}"`, '"stream":"x"'));
  const moved = renamed(files, (name) => name.replace(stream, 'x'));
  return remade(moved, 'x', lines, stranger);
}

/** The known key is public: anybody can say that it takes the place of theirs, and sign everything before themselves. */
function handedOver(files: LogFiles, lines: readonly string[], known: VerifierKey): LogFiles {
  const made = remade(files, stream, lines, stranger);
  const before = linesOf(made, stream);
  const [opened] = before;
  const data = rotationData(noteSigner(known.name, stranger), { name: known.name, key: known });
  const rotation = opened!
    .replace(keyActions.opened, keyActions.rotated)
    .replace(/"data":\{[^}]*\}/, `"data":${canonicalJson(data)}`);
  return withLines(made, stream, rechained([...before, rotation], before.length));
}

/** The id of another key in the note that names the key, and in the checkpoint. */
function keyIdCases({ signed, keys }: SignedStreams): TamperCase[] {
  const lines = linesOf(signed, stream);
  const path = checkpointOf(stream);
  const { text, id } = keys.control;
  const otherId = text.replace(`+${id}+`, '+00000000+');
  const note = signed.get(path)!.toString('utf8');
  const renamed = note.replace(/^(— \S+ )(\S+)$/mu, (_, name: string, base64: string) => {
    const bytes = Buffer.from(base64, 'base64');
    bytes[0]! ^= 1;
    return `${name}${bytes.toString('base64')}`;
  });
  const named = lines.with(0, lines[0]!.replace(text, otherId));
  return [
    { what: 'the key’s id changed in the checkpoint', files: withFile(signed, path, renamed), stream },
    { what: 'the key’s id changed in the log', files: withLines(signed, stream, named), stream, seq: 1 },
    {
      what: 'the key’s id changed in the log, and hashes made anew',
      files: withLines(signed, stream, rechained(named)),
      stream,
    },
    { what: 'the key removed from the log', files: withLines(signed, stream, keyless(lines)), stream },
    {
      what: 'the key named twice',
      files: withLines(signed, stream, rechained([lines[0]!, ...lines])),
      stream,
      seq: 2,
    },
  ];
}

const keyless = (lines: readonly string[]) =>
  rechained(lines.with(0, lines[0]!.replace(/"data":\{[^}]*\},/, '')));

/** What is done to the folder. */
function folderCases({ signed }: SignedStreams): TamperCase[] {
  const content = signed.get(segmentFile(stream))!;
  const note = signed.get(checkpointOf(stream))!;
  const short = linesOf(signed, stream).slice(0, 9);
  const cut = Buffer.from(short.map((line) => `${line}\n`).join(''));
  const bare = without(signed, `${stream}/`);
  const beside = (name: string, bytes: Buffer) => withFile(signed, `${stream}/${name}`, bytes);
  return [
    {
      what: 'streams that changed their places',
      files: renamed(signed, (name) =>
        name.startsWith(stream) ? name.replace(stream, other) : name.replace(other, stream),
      ),
      stream,
    },
    {
      what: 'a stream under another name',
      files: renamed(signed, (name) => name.replace(stream, 'x')),
      stream: 'x',
    },
    {
      what: 'a copy of a stream under another name',
      files: new Map([...signed, ...renamed(signed, (name) => name.replace(/^control/, 'x'))]),
      stream: 'x',
    },
    {
      what: 'a segment of later events that are not',
      files: beside('0000000000065537.jsonl', content),
      stream,
    },
    {
      what: 'a segment of earlier events that are not',
      files: beside('0000000000000000.jsonl', content),
      stream,
    },
    { what: 'a segment of a place that none has', files: beside('0000000000000009.jsonl', content), stream },
    { what: 'a segment far away', files: beside('9999999999999999.jsonl', content), stream },
    {
      what: 'a segment under the name of a later one',
      files: renamed(signed, (name) => name.replace('/0000000000000001', '/0000000000065537')),
      stream,
    },
    {
      what: 'a shorter log as one file in the place of the folder',
      files: withFile(bare, `${stream}.jsonl`, cut),
      stream,
    },
    {
      what: 'a shorter log as one file in the folder',
      files: withFile(without(signed, `${stream}/`), `${stream}/${stream}.jsonl`, cut),
      stream,
    },
    {
      what: 'a log in the folder of all logs, which hides them',
      files: new Map([...withLines(signed, stream, short), ...atTop(signed)]),
      stream: logFolder,
    },
    {
      what: 'a checkpoint in the folder of all logs, which hides them',
      files: withFile(withLines(signed, stream, short), 'checkpoint', note),
      stream: logFolder,
    },
  ];
}

/** A whole log by a stranger, for the folder that holds the folders. */
function atTop(signed: LogFiles): LogFiles {
  const lines = linesOf(signed, stream).slice(0, 3);
  const own = lines.map((line) => line.replace(`"stream":"${stream}"`, `"stream":"${logFolder}"`));
  const made = remade(signed, stream, own, stranger);
  return new Map(
    [...made].flatMap(([name, content]) =>
      name.startsWith(`${stream}/`) ? [[name.slice(stream.length + 1), content] as const] : [],
    ),
  );
}

function renamed(files: LogFiles, rename: (name: string) => string): LogFiles {
  return new Map([...files].map(([name, content]) => [rename(name), content]));
}

function without(files: LogFiles, start: string): LogFiles {
  return new Map([...files].filter(([name]) => !name.startsWith(start)));
}

/** All of them, by what is tampered with. */
export function allCases(streams: SignedStreams): Record<string, TamperCase[]> {
  return {
    lines: lineCases(streams),
    spellings: spellingCases(streams),
    bytes: byteCases(streams),
    checkpoints: checkpointCases(streams),
    keys: keyIdCases(streams),
    'logs made anew': forgeryCases(streams),
    folders: folderCases(streams),
  };
}
