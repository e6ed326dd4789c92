import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { openRedactor } from './redactor.ts';
import { SecretValues } from './secret-values.ts';
import { TextStream } from './text-stream.ts';

const token = `ghp_${'aB3dE6gH9'.repeat(4)}`;
const value = 'correct-horse-battery-staple';
const key = `-----BEGIN PRIVATE KEY-----\n${'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n'.repeat(400)}-----END PRIVATE KEY-----`;

function redactor() {
  const values = new SecretValues();
  values.hold('run', 'run-environment', value);
  return openRedactor(values);
}

/** All pieces pushed, and what the stream makes of them. */
function streamed(pieces: readonly string[], afterEach: (stream: TextStream) => string = () => ''): string {
  const stream = redactor().stream();
  let said = '';
  for (const piece of pieces) said += stream.push(piece).text + afterEach(stream);
  return said + stream.flush().text;
}

const around = `${'build log line 17: fine\r\n'.repeat(90)}and then `;
const secrets = { token, value, base64: Buffer.from(`x${value}y`).toString('base64'), key };

for (const [name, secret] of Object.entries(secrets)) {
  test(`a secret is found wherever its text is split: ${name}`, () => {
    const text = `${around}${secret} ${around}`;
    const whole = redactor().text(text);
    assert(!whole.includes(secret.slice(0, 24)), 'found in one piece');
    const step = Math.max(1, Math.floor(secret.length / 64));
    for (let at = around.length - 2; at <= around.length + secret.length + 1; at += step)
      assert.equal(streamed([text.slice(0, at), text.slice(at)]), whole, `split at ${at - around.length}`);
  });

  test(`a secret is found where its characters come one by one, and pauses lie between: ${name}`, () => {
    if (name === 'key') return;
    const said = streamed([...`> ${secret} and on`], (stream) => stream.settle().text);
    assert(!said.includes(secret.slice(4, 16)), said);
    assert.match(said, /^> .*\[redacted:[a-z-]+\].* and on$/);
  });
}

test('a text without secrets comes out as it went in, however it is cut up', () => {
  const piece = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 400 }),
    fc.constantFrom('\r\n', '\x1b[31m', ' ', '🦭'),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(piece, fc.boolean()), { maxLength: 60 }), (parts) => {
      const stream = new TextStream(() => []);
      let said = '';
      for (const [text, pauses] of parts) {
        for (const released of pauses ? [stream.push(text), stream.settle()] : [stream.push(text)]) {
          assert(released.isWhole);
          said += released.text;
        }
      }
      said += stream.flush().text;
      assert.equal(said, parts.map(([text]) => text).join(''));
    }),
  );
});

test('cut up in any way, the same is said as of the whole', () => {
  const part = fc.constantFrom(
    'text ',
    'a line\r\n',
    `${token}\n`,
    `"${value}"`,
    'password=hunter2hunter2 ',
    '\x1b[1m',
    'é',
  );
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 80 }),
      fc.array(fc.integer({ min: 1, max: 700 }), { maxLength: 60 }),
      (parts, sizes) => {
        const text = parts.join('');
        const pieces: string[] = [];
        let at = 0;
        for (const size of sizes) {
          pieces.push(text.slice(at, at + size));
          at += size;
        }
        pieces.push(text.slice(at));
        for (const secret of [token, value, 'hunter2hunter2'])
          assert(!streamed(pieces).includes(secret), JSON.stringify(parts));
      },
    ),
  );
});

test('a secret that is coloured in the middle is a secret', () => {
  const coloured = `${token.slice(0, 9)}\x1b[01;31m\x1b[K${token.slice(9, 14)}\x1b[m\x1b[K${token.slice(14)}`;
  const said = streamed([`found: ${coloured}\r\n`]);
  assert.equal(said, 'found: [redacted:github-token]\r\n');
});

test('what is held back is bounded, also of a secret that never ends', () => {
  const stream = redactor().stream();
  let said = stream.push('-----BEGIN PRIVATE KEY-----\n').text;
  let mostHeld = 0;
  for (let count = 0; count < 2_000; count += 1) {
    said += stream.push('MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n'.repeat(8)).text;
    mostHeld = Math.max(mostHeld, stream.held);
  }
  said += stream.push(`-----END PRIVATE KEY-----\n${'after '.repeat(500)}`).text + stream.flush().text;
  assert(mostHeld <= 16 * 1024, `${mostHeld} characters were held`);
  assert.equal(said, `[redacted:private-key]\n${'after '.repeat(500)}`);
});
