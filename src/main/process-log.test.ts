import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { openRedactor } from '../redaction/redactor.ts';
import { SecretValues } from '../redaction/secret-values.ts';
import { redactedLine } from './process-log.ts';

const values = new SecretValues();
values.hold('test', 'held', 'correct "horse" battery');
const redactor = openRedactor(values);

function logged(write: (log: ReturnType<typeof pino>) => void): string {
  const lines: string[] = [];
  const hooks = { streamWrite: (line: string) => redactedLine(line, redactor) };
  write(pino({ base: null, hooks }, { write: (line: string) => lines.push(line) }));
  return lines.join('');
}

test('a line of the log stays one line of JSON and holds no secret: in facts, names, messages and errors', () => {
  const text = logged((log) =>
    log.error(
      {
        ...{
          error: String(new Error('of correct "horse" battery')),
          err: new Error('of correct "horse" battery'),
        },
        ...{
          authorization: 'anything',
          nested: { list: ['correct "horse"', ' battery'], count: 3, none: null },
        },
      },
      'a correct "horse" battery failed',
    ),
  );
  assert.match(text, /^\{.*\}\n$/);
  assert.doesNotMatch(text, /horse|battery|anything/);
  const line = JSON.parse(text);
  assert.equal(line.msg, 'a [redacted:held] failed');
  assert.equal(line.authorization, '[redacted:by-name]');
  assert.deepEqual([line.level, line.nested.count, line.nested.none], [50, 3, null]);
});

test('a line without a secret is written as it is, and one that is no JSON as a text', () => {
  const plain =
    '{"level":30,"time":1,"process":"control","route":"/api/v1/tokens","ms":1.5,"msg":"answered"}\n';
  assert.equal(redactedLine(plain, redactor), plain);
  assert.equal(redactedLine('not {json correct "horse" battery\n', redactor), 'not {json [redacted:held]\n');
});
