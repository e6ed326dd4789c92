import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { parseCheckpoint, parseCheckpoints, signCheckpoint } from './checkpoint.ts';
import { noteSigner, parseNote, parseVerifierKey, signedBy, signNote } from './signed-note.ts';

/** The example of Go's golang.org/x/mod/sumdb/note, which the specification comes from. */
const goKey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
const goText =
  'If you think cryptography is the answer to your problem,\nthen you don’t know what your problem is.\n';
const goNote = `${goText.replace('’', "'")}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n`;

test('the specification’s own key and note verify, and no other text under them', () => {
  const key = parseVerifierKey(goKey);
  assert(key !== null);
  assert.equal(key.text, goKey);
  const note = parseNote(goNote);
  assert(note !== null);
  assert.equal(signedBy(note, [key])?.id, 'c74f20a3');
  assert.equal(signedBy({ ...note, text: goText }, [key]), null);
  assert.equal(signedBy(note, []), null);
});

const signer = noteSigner('audit.example/log', generateKeyPairSync('ed25519').privateKey);
const checkpoint = { origin: 'audit.example/log', size: 7, root: Buffer.alloc(32, 1), extensions: [] };

test('what was signed is read again, by the key whose text is handed out', () => {
  const signed = signCheckpoint(checkpoint, signer);
  const read = parseCheckpoint(signed.note);
  assert(read !== null);
  assert.deepEqual([read.origin, read.size, read.root], ['audit.example/log', 7, checkpoint.root]);
  const key = parseVerifierKey(signer.key.text);
  assert.deepEqual(signedBy(read.note, [key!])?.text, signer.key.text);
  const other = noteSigner('audit.example/log', generateKeyPairSync('ed25519').privateKey);
  assert.equal(signedBy(read.note, [other.key]), null);
  assert.deepEqual(
    parseCheckpoints(`${signed.note}\n${signed.note}`)?.map(({ size }) => size),
    [7, 7],
  );
});

test('no bit of a checkpoint can be changed', () => {
  const { note } = signCheckpoint(checkpoint, signer);
  const bytes = Buffer.from(note);
  for (let index = 0; index < bytes.length * 8; index += 1) {
    const changed = Buffer.from(bytes);
    changed[index >> 3]! ^= 1 << (index & 7);
    const read = parseCheckpoint(changed.toString('utf8'));
    assert(read === null || signedBy(read.note, [signer.key]) === null, `bit ${index}`);
  }
});

test('other spellings are no checkpoints and no keys', () => {
  const { note } = signCheckpoint(checkpoint, signer);
  assert(parseCheckpoint(note) !== null, 'the control');
  const spellings: [RegExp | string, string][] = [
    ['\n7\n', '\n07\n'],
    ['\n7\n', '\n7.0\n'],
    ['\n7\n', '\n-7\n'],
    ['\n7\n', '\n99999999999999999\n'],
    ['=\n', '\n'],
    [/\n\n/, '\n'],
    [/\n$/, ''],
    ['— ', '- '],
    ['audit.example/log\n', '\n'],
  ];
  for (const [from, to] of spellings)
    assert.equal(parseCheckpoint(note.replace(from, to)), null, JSON.stringify(to));
  for (const text of [
    '',
    'a',
    `${goKey} `,
    goKey.replace('c74f', 'c74e'),
    goKey.replace('P', 'Q'),
    'a+b+c+d',
  ])
    assert.equal(parseVerifierKey(text), null, text);
  assert.throws(() =>
    noteSigner(
      'a name',
      createPrivateKey(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' })),
    ),
  );
  assert.equal(parseNote(signNote('x\n', signer).repeat(3_000)), null);
  assert.equal(parseCheckpoints(`${note}junk\n`), null);
});
