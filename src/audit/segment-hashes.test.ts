import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../tests/support/audit.ts';
import { TreeEdge } from './merkle.ts';
import { SegmentHashes, storedNodes, storedRoot } from './segment-hashes.ts';
import { segmentEvents, segmentHeight } from './segments.ts';

const leaf = (index: number) => hash('sha256', String(index), 'buffer');

/** The node over the leaves themselves, by the other implementation. */
function expected(height: number, index: number): Buffer {
  const edge = new TreeEdge();
  for (let at = index * 2 ** height; at < (index + 1) * 2 ** height; at += 1) edge.append(leaf(at));
  return edge.root();
}

test('every complete subtree is the one over its leaves, while the segment grows and as it is stored', async () => {
  using folder = temporaryFolder();
  const hashes = new SegmentHashes();
  const grow = (count: number) => {
    while (hashes.count < count) hashes.append(leaf(hashes.count));
  };
  for (const count of [1, 2, 255, 256, 257, 511, 512, 1_000, 4_096]) {
    grow(count);
    for (let height = 0; 2 ** height <= count; height += 1) {
      const last = Math.floor(count / 2 ** height) - 1;
      for (const index of new Set([0, last]))
        assert.deepEqual(hashes.node(height, index), expected(height, index), `${count}: ${height}/${index}`);
    }
  }
  grow(segmentEvents);
  const path = join(folder.path, '0000000000000001.jsonl');
  await hashes.write(path);
  assert.deepEqual(await storedRoot(path), expected(segmentHeight, 0));
  for (const [height, index] of [
    [0, 65_535],
    [7, 3],
    [8, 255],
    [11, 30],
    [15, 1],
  ] as const)
    assert.deepEqual(await storedNodes(path, height, { index, count: 1 }), [expected(height, index)]);
});

test('a large subtree of a segment that is being written costs no pass over its leaves', () => {
  const hashes = new SegmentHashes();
  for (let index = 0; index < segmentEvents / 2; index += 1) hashes.append(leaf(index));
  const one = performance.now();
  for (let times = 0; times < 20; times += 1) hashes.node(segmentHeight - 1, 0);
  const spent = performance.now() - one;
  const all = performance.now();
  expected(segmentHeight - 1, 0);
  assert(spent < performance.now() - all, 'twenty of them are faster than one pass');
});
