import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import {
  attachCloseCodes,
  attachLimits,
  attachProtocol,
  attachStreams,
  ticketProtocolPrefix,
} from '../../src/contract/attach.ts';
import { parseClientFrame } from '../../src/contract/attach-frames.ts';
import { terminalBounds } from '../../src/model/terminal.ts';
import { attachServerLimits } from '../../src/server/attach/limits.ts';

const page = readFileSync(new URL('../../docs/reference/attach.md', import.meta.url), 'utf8');

/** The lines of the table under a heading, cells trimmed. */
function tableOf(heading: string): string[][] {
  const from = page.indexOf(`${heading}\n`);
  assert(from >= 0, heading);
  const [, rest = ''] = page.slice(from).split(/\n(?=\|)/, 2);
  const body = page.slice(page.indexOf(rest, from)).split('\n\n', 1)[0]!;
  return body
    .split('\n')
    .slice(2)
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('`', '')),
    );
}

test('the page of the attach protocol names every close code, stream and frame, and no other', () => {
  const codes = tableOf('## Close codes').map(([code, name]) => [name, Number(code)]);
  assert.deepEqual(Object.fromEntries(codes), attachCloseCodes);
  const streams = tableOf('## Frames').map(([byte, stream]) => [stream!.split(':')[0], Number(byte)]);
  assert.deepEqual(Object.fromEntries(streams), attachStreams);
  assert(page.includes(attachProtocol) && page.includes(`${ticketProtocolPrefix}TICKET`));
  const size = { columns: 80, rows: 24 };
  const fields: Record<string, object> = {
    resize: { size },
    'hand-over': { to: 'con_01kamcq5r8v0x4m2e7hj9n3tzb' },
  };
  const types = tableOf('### From clients').map(([type]) => type!);
  assert.deepEqual(types.sort(), ['drive', 'end-input', 'hand-over', 'keep-alive', 'release', 'resize']);
  for (const type of types)
    assert.notEqual(parseClientFrame(JSON.stringify({ type, ...fields[type] })), null, type);
});

test('the page of the attach protocol tells the limits that are kept', () => {
  const told = new Map(tableOf('## Limits').map(([name, value]) => [name!, value!]));
  const expected: readonly (readonly [RegExp, string])[] = [
    [/^a message/, `${attachLimits.frameBytesMax} bytes`],
    [/^pieces/, `${attachServerLimits.fragmentsMax}`],
    [/^from its first byte/, `${attachServerLimits.messageMs / 1000} s`],
    [/^a text frame/, `${attachLimits.controlBytesMax} bytes`],
    [/^text frames, pings/, `${attachLimits.controlFramesPerSecondMax}`],
    [/^output in one/, `${attachLimits.outputBytesMax} bytes`],
    [/^frames that wait/, `${attachLimits.queueFramesMax}`],
    [/^ping/, `${attachLimits.pingMs / 1000} s`],
    [/^pong/, `${attachLimits.pongMs / 1000} s`],
    [/^output that can/, `${attachLimits.resumeBytesMax} bytes`],
    [/^connections of one/, `${attachLimits.connectionsPerActorMax}`],
    [/^connections to one/, `${attachLimits.connectionsPerRunMax}`],
    [/^tickets/, `${attachLimits.ticketsPerActorMax}`],
  ];
  assert.equal(told.size, expected.length);
  for (const [name, value] of expected) {
    const line = [...told].find(([one]) => name.test(one));
    assert.equal(line?.[1], value, String(name));
  }
  assert(page.includes(`for ${attachLimits.ticketLifeMs / 1000} s`));
  assert(page.includes(`lasts ${attachLimits.leaseMs / 1000} s`));
  assert(page.includes(`\`columns\` 1–${terminalBounds.columnsMax}, \`rows\` 1–${terminalBounds.rowsMax}`));
});
