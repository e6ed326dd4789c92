import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandText } from './run-terminals.ts';

test('a command is shown as it would be typed, and nothing in it stays unseen', () => {
  assert.equal(commandText(['bash', '-c', 'make test']), 'bash -c "make test"');
  assert.equal(
    commandText(['a\n\x1b[2J', 'b\u202etxt.exe', '\x9b']),
    '"a\\n\\u001b[2J" "b\\u{202e}txt.exe" "\\u{9b}"',
  );
  assert.equal(commandText(['x'.repeat(500)]).length, 120);
});
