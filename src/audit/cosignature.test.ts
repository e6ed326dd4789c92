import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { test } from 'node:test';
import { parseCheckpoint, signCheckpoint } from './checkpoint.ts';
import { cosignatureBy, cosignedText, mergedNote, withSignatures } from './cosignature.ts';
import { keyTypes, noteSigner, parseNote, parseVerifierKey, publicPart, signedBy } from './signed-note.ts';

const log = noteSigner('audit.example/log', generateKeyPairSync('ed25519').privateKey);
const { note } = signCheckpoint(
  { origin: 'audit.example/log', size: 7, root: Buffer.alloc(32, 1), extensions: [] },
  log,
);
const text = parseNote(note)!.text;
const { privateKey } = generateKeyPairSync('ed25519');
const witness = publicPart('witness.example/w1', privateKey, keyTypes.cosignature);

function cosign(at: bigint, { signed = cosignedText(text, Number(at)), name = witness.name } = {}): string {
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(at);
  const bytes = Buffer.concat([
    Buffer.from(witness.id, 'hex'),
    time,
    sign(null, Buffer.from(signed), privateKey),
  ]);
  return `— ${name} ${bytes.toString('base64')}\n`;
}

test('the key of a public witness is read as one for cosignatures, and as no other', () => {
  const remora = 'remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2';
  assert.equal(parseVerifierKey(remora, keyTypes.cosignature)?.id, 'da77ade7');
  assert.equal(parseVerifierKey(remora), null);
  assert.equal(parseVerifierKey(log.key.text, keyTypes.cosignature), null);
});

test('a time stands where the specification’s Go implementation puts it', () => {
  const base64 =
    'ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8qT7S5gxEHWWOworDcFiEBYJXORmnFBOBA==';
  const [found] = parseNote(`test\n\n— w ${base64}\n`)!.signatures;
  assert.equal(found?.bytes.readBigUInt64BE(), 1_727_964_367n);
});

test('the specification’s signed message is made to the letter', () => {
  assert.equal(
    cosignedText(
      'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n',
      1679315147,
    ),
    'cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n',
  );
});

test('a cosignature is found by its key beside others, and the note is still the log’s', () => {
  const other = cosign(1n, { name: 'other.example' });
  const both = withSignatures(note, other + cosign(1_700_000_000n));
  assert(both !== null);
  const found = cosignatureBy(both, witness);
  assert.equal(found?.at, 1_700_000_000);
  const merged = mergedNote(note, [found.line]);
  assert.equal(mergedNote(merged, [found.line]), merged, 'twice is once');
  const read = parseCheckpoint(merged);
  assert.equal(read?.size, 7);
  assert.equal(signedBy(read!.note, [log.key])?.id, log.key.id);
  assert.equal(cosignatureBy(read!.note, witness)?.at, 1_700_000_000);
});

test('nothing else is one', () => {
  const by = (lines: string) => {
    const read = withSignatures(note, lines);
    return read === null ? null : cosignatureBy(read, witness);
  };
  assert(by(cosign(5n)) !== null, 'the control');
  assert(
    by(cosign(4n, { signed: cosignedText(text, 5) }) + cosign(5n)) !== null,
    'a right one after a wrong one',
  );
  for (const [what, lines] of Object.entries({
    'another time': cosign(4n, { signed: cosignedText(text, 5) }),
    'another text': cosign(5n, { signed: cosignedText(`${text}more\n`, 5) }),
    'a note signature': cosign(5n, { signed: text }),
    'another name': cosign(5n, { name: 'other.example' }),
    'a time past every clock': cosign(2n ** 63n),
    'no signature': 'ok\n',
    nothing: '',
    'a shorter one': `— ${witness.name} ${Buffer.from(`${witness.id}0000`, 'hex').toString('base64')}\n`,
  }))
    assert.equal(by(lines), null, what);
});
