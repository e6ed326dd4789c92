import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { test } from 'node:test';
import { redactionLimits } from './limits.ts';
import { openRedactor } from './redactor.ts';
import { SecretValues } from './secret-values.ts';

const marker = '[redacted:value]';

function holding(...secrets: readonly (string | Uint8Array)[]) {
  const values = new SecretValues();
  for (const [index, secret] of secrets.entries())
    assert.equal(values.hold(`run_${index}`, 'value', secret), 'held');
  return openRedactor(values);
}

function escapedSomehow(text: string): string {
  return [...text]
    .map((character) => {
      const code = character.charCodeAt(0);
      const forms = [
        character,
        `%${code.toString(16).padStart(2, '0')}`,
        `%${code.toString(16).padStart(2, '0').toUpperCase()}`,
        `\\u${code.toString(16).padStart(4, '0')}`,
        `${character}\n`,
        `${character}", "`,
      ];
      return forms[randomInt(forms.length)]!;
    })
    .join('');
}

const secrets = [
  'correct-horse_battery',
  'p4ss word with spaces',
  'quotes "and" \'commas\', too\\n',
  'käse-und-schlüssel-für-alle',
  'percent%41and%zz+plus/slash=',
  'eightchr',
  randomBytes(32).toString('base64'),
  randomBytes(300).toString('base64url'),
  `-----A KEY-----\n${randomBytes(1500).toString('base64').replace(/.{64}/g, '$&\n')}\n-----END-----`,
];

test('a value is found as it is, escaped, split, and in base64, base64url and hexadecimal', () => {
  for (const secret of secrets) {
    const redactor = holding(secret);
    const bytes = Buffer.from(secret);
    const spellings = {
      plain: secret,
      url: encodeURIComponent(secret),
      lowerUrl: encodeURIComponent(secret).replace(/%../g, (escaped) => escaped.toLowerCase()),
      json: JSON.stringify(secret).slice(1, -1),
      lines: secret.replace(/.{5}(?=.)/gs, '$&\r\n  '),
      base64: bytes.toString('base64'),
      base64url: bytes.toString('base64url'),
      wrapped: bytes.toString('base64').replace(/.{16}(?=.)/g, '$&\n'),
      base64InUrl: encodeURIComponent(bytes.toString('base64')),
      hex: bytes.toString('hex'),
      upperHex: bytes.toString('hex').toUpperCase(),
    };
    for (const [name, text] of Object.entries(spellings))
      assert.equal(
        redactor.text(`before: ${text} :after`),
        `before: ${marker} :after`,
        `${name} of ${secret}`,
      );
  }
});

test('a value is found in any mixture of escapes and line breaks', () => {
  const secret = 'Zm9vYmFy-quux_1234567890';
  const redactor = holding(secret);
  for (let round = 0; round < 500; round += 1) {
    const text = escapedSomehow(secret);
    const shown = redactor.text(`<${text}>`);
    assert.ok(shown.includes(marker) && !/Zm9v|1234|quux/.test(shown), `${text} → ${shown}`);
  }
});

test('a value inside a longer base64 text is found wherever it begins', () => {
  const secret = 'correct-horse_battery';
  const redactor = holding(secret);
  for (let before = 0; before < 7; before += 1) {
    for (let after = 0; after < 7; after += 1) {
      const text = Buffer.from(`${'a'.repeat(before)}${secret}${'b'.repeat(after)}`).toString('base64');
      const shown = redactor.text(text);
      assert.ok(shown.includes(marker), text);
      const left = Buffer.from(shown.replace(marker, ''), 'base64').toString('latin1');
      assert.doesNotMatch(left, /cor|tery/);
    }
  }
});

test('a value that is split over neighbours of a list is found in each', () => {
  const redactor = holding('correct-horse_battery');
  const shown = redactor.starts(['echo', 'correct-', 'horse_', 'battery', 'x'], 100).map(({ text }) => text);
  assert.deepEqual(shown, ['echo', marker, marker, marker, 'x']);
  assert.deepEqual(
    redactor
      .starts(
        ['', 'correct-horse_battery', '', 'correct', '-horse_battery and correct-horse_battery', ''],
        100,
      )
      .map(({ text }) => text),
    ['', marker, '', marker, `${marker} and ${marker}`, ''],
  );
  assert.deepEqual(redactor.document({ a: ['x correct-horse', '_battery y'] }), {
    a: [`x ${marker}`, `${marker} y`],
  });
});

test('what stands behind an option that asks for a secret is gone', () => {
  const shown = holding('correct-horse_battery').starts(
    ['curl', '--password', 'x', '-v', '--token-file', 'y'],
    100,
  );
  assert.deepEqual(
    shown.map(({ text }) => text),
    ['curl', '--password', '[redacted:by-name]', '-v', '--token-file', 'y'],
  );
});

test('a part of a long value is found, whatever was cut off around it', () => {
  const secret = randomBytes(900).toString('base64url');
  const redactor = holding(secret);
  const { pieceCharacters } = redactionLimits;
  for (const from of [0, 100, 555, secret.length - 2 * pieceCharacters])
    assert.ok(redactor.text(secret.slice(from, from + 2 * pieceCharacters)).includes(marker));
});

test('a cut shows no part of a value that it goes through, nor how long it is', () => {
  const secret = 'correct-horse_battery';
  const redactor = holding(secret);
  for (let before = 90; before <= 110; before += 1) {
    const shown = redactor.start(`${'a'.repeat(before)}${secret}${'b'.repeat(5000)}`, 100);
    assert.doesNotMatch(shown.text, /co|b/);
    if (before < 100) assert.equal(shown.beyond, 5000);
  }
});

test('values that differ do not hide each other, and what is nobody’s is left', () => {
  const many = Array.from({ length: 1000 }, () => `Bearer-${randomBytes(20).toString('hex')}-same-tail`);
  const redactor = holding(...many);
  for (const secret of many) assert.equal(redactor.text(`x=${secret}`), `x=${marker}`);
  const other = `Bearer-${randomBytes(20).toString('hex')}-same-tail`;
  assert.equal(redactor.text(other), other);
});

test('a value is looked for until the last who holds it lets go', () => {
  const values = new SecretValues();
  const redactor = openRedactor(values);
  values.hold('run_1', 'first', 'correct-horse');
  values.hold('run_2', 'second', 'correct-horse');
  assert.equal(redactor.text('correct-horse'), '[redacted:first]');
  values.letGo('run_1');
  assert.equal(redactor.text('correct-horse'), '[redacted:first]');
  values.letGo('run_2');
  values.letGo('run_2');
  assert.equal(redactor.text('correct-horse'), 'correct-horse');
  assert.equal(values.size, 0);
});

test('marks of values that are gone do not pile up, and the rest is still found', () => {
  const values = new SecretValues();
  values.hold('stays', 'value', 'correct-horse');
  for (let index = 0; index < 500; index += 1) {
    values.hold('goes', 'value', randomBytes(16).toString('hex'));
    values.letGo('goes');
  }
  assert.equal(openRedactor(values).text('a correct-horse b'), `a ${marker} b`);
});

test('short values are refused, as are more than the bound, and nothing of them is held', () => {
  const values = new SecretValues();
  for (const value of ['', '1234567', 'a b c d e', new Uint8Array(7)])
    assert.equal(values.hold('run_1', 'value', value), 'too-short');
  assert.equal(values.size, 0);
  const { piecesPerHolderMax } = redactionLimits;
  while (values.hold('greedy', 'value', randomBytes(4000).toString('hex')) === 'held');
  assert.ok(values.size > piecesPerHolderMax / 2 && values.size <= piecesPerHolderMax);
  assert.equal(values.hold('modest', 'value', 'correct-horse'), 'held', 'nobody takes the room of others');
  assert.throws(() => values.hold('run_1', 'not [a] marker', 'correct-horse'), TypeError);
});

test('a value that its holder holds already takes no more room, and is let go of with the others', () => {
  const values = new SecretValues();
  const token = randomBytes(20).toString('hex');
  assert.equal(values.hold('run_1', 'value', token), 'held');
  const { size } = values;
  // As many commands as a long run is given, each with the same variable.
  for (let count = 0; count < 2_000; count += 1) assert.equal(values.hold('run_1', 'value', token), 'held');
  assert.equal(values.size, size);
  assert.equal(values.hold('run_1', 'value', 'correct-horse'), 'held');
  assert.notDeepEqual(values.spansIn('is correct-horse'), []);
  values.letGo('run_1');
  assert.equal(values.size, 0);
});

test('no value stays in memory that can be read back', () => {
  const values = new SecretValues();
  values.hold('run_1', 'value', 'correct-horse');
  assert.ok(!JSON.stringify(values, (_, member) => member).includes('correct'));
});

test('bytes are found as base64 and hexadecimal', () => {
  const key = randomBytes(32);
  const redactor = holding(key);
  assert.equal(redactor.text(`k ${key.toString('base64')}`), `k ${marker}`);
  assert.equal(redactor.text(`k ${key.toString('hex')}`), `k ${marker}`);
});

test('no text and no values make the search slow', () => {
  const values = new SecretValues();
  for (let index = 0; index < 1000; index += 1) {
    values.hold(`run_${index}`, 'value', `${'a'.repeat(60)}${index}${'a'.repeat(60)}`);
    values.hold(`run_${index}`, 'value', `b${'a'.repeat(index % 120)}same-end-of-all`);
  }
  const redactor = openRedactor(values);
  for (const piece of [
    'a',
    'aaaaaaaab',
    'same-end-of-all',
    'baaaasame-end-of-all',
    '%61',
    '\\u0061',
    ' ',
    '"',
    'YWFh',
  ]) {
    const text = piece.repeat(16 * 1024).slice(0, 16 * 1024);
    const start = performance.now();
    redactor.text(text);
    const ms = performance.now() - start;
    assert.ok(ms < 1_000, `${piece} takes ${Math.round(ms)} ms`);
  }
});
