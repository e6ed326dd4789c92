import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ExportMeasure } from '../../../tests/support/export-process.ts';

const script = join(import.meta.dirname, '../../../tests/support/export-process.ts');

test('an export of a hundred thousand events is handed on as it is made, in memory that it does not fill', () => {
  const { bytes, streamed, kept } = JSON.parse(
    execFileSync(process.execPath, [script], { encoding: 'utf8' }),
  ) as ExportMeasure;
  const bound = bytes / 2;
  assert(kept > bound, `control: whoever keeps all ${bytes} bytes is found out, at ${kept}`);
  assert(streamed < bound, `${bytes} bytes took ${streamed}`);
});
