import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { endpointsFile, endpointsReference } from '../../tools/reference.ts';

test('the page of endpoints lists what the server answers; `node tools/reference.ts` renews it', async () => {
  assert.equal(readFileSync(endpointsFile, 'utf8'), await endpointsReference());
});
