import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { LeafHasher } from './leaf-hasher.ts';
import { TreeEdge } from './merkle.ts';

test('the edge is that of the leaves so far, whenever it is asked for', () => {
  for (const every of [1, 3, 100, 256, 300]) {
    const hasher = new LeafHasher();
    const edge = new TreeEdge();
    for (let size = 0; size < 1_100; size += 1) {
      if (size % every === 0) assert.deepEqual(hasher.peaks(), edge.peaks, `${size}, asked every ${every}`);
      assert.equal(hasher.size, size);
      const leaf = hash('sha256', String(size), 'hex');
      hasher.append(leaf);
      edge.append(Buffer.from(leaf, 'hex'));
    }
    assert.deepEqual(hasher.peaks(), edge.peaks);
  }
});
