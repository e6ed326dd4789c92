import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, test } from 'node:test';
import { consistencyProof, emptyRoot, inclusionProof, leafHash, nodeHash, TreeEdge } from './merkle.ts';
import {
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
  verifySubtreeInclusion,
} from './merkle-verify.ts';

const vectors = process.env.SEALWRIGHT_VECTORS;

type Vector = {
  readonly desc: string;
  readonly wantErr: boolean;
  readonly proof: readonly string[] | null;
  readonly leafIdx: number;
  readonly treeSize?: number;
  readonly start: number;
  readonly end: number;
  readonly size: number;
  readonly size1: number;
  readonly size2: number;
  readonly root: string | null;
  readonly root1: string | null;
  readonly root2: string | null;
  readonly leafHash: string | null;
};

const bytes = (text: string | null) => Buffer.from(text ?? '', 'base64');

const judges: Readonly<Record<string, (vector: Vector, proof: Buffer[]) => boolean>> = {
  inclusion: (v, proof) =>
    verifyInclusion(bytes(v.leafHash), v.leafIdx, v.treeSize ?? 0, proof, bytes(v.root)),
  consistency: (v, proof) => verifyConsistency(v.size1, v.size2, proof, bytes(v.root1), bytes(v.root2)),
  subtreeinclusion: (v, proof) =>
    verifySubtreeInclusion(bytes(v.leafHash), v.leafIdx, v, proof, bytes(v.root)),
  subtreeconsistency: (v, proof) =>
    verifySubtreeConsistency(v, v.size, proof, bytes(v.root1), bytes(v.root2)),
};

describe('the public vectors agree', {
  skip: vectors === undefined && 'SEALWRIGHT_VECTORS is not set',
}, () => {
  for (const [kind, judge] of Object.entries(judges)) {
    it(kind, () => {
      const folder = join(vectors!, 'merkle', 'testdata', kind);
      const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
      const files = names.filter((name) => name.endsWith('.json'));
      assert(files.length >= 98);
      for (const name of files) {
        const vector = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Vector;
        const expected = !vector.wantErr;
        assert.equal(judge(vector, (vector.proof ?? []).map(bytes)), expected, `${name}: ${vector.desc}`);
      }
    });
  }
});

/** The tree as the RFC writes it down, without any cleverness. */
function naiveRoot(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 0) return emptyRoot;
  if (leaves.length === 1) return leaves[0]!;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return nodeHash(naiveRoot(leaves.slice(0, split)), naiveRoot(leaves.slice(split)));
}

const leaves = Array.from({ length: 70 }, (_, index) => leafHash(Buffer.from(`event ${index}`)));
const node = async (height: number, index: number) =>
  naiveRoot(leaves.slice(index * 2 ** height, (index + 1) * 2 ** height));

test('every proof of every tree up to 70 leaves verifies, and no other leaf, size or root by it', async () => {
  for (let size = 1; size <= leaves.length; size += 1) {
    const root = naiveRoot(leaves.slice(0, size));
    for (let index = 0; index < size; index += 1) {
      const proof = await inclusionProof(index, size, node);
      assert(verifyInclusion(leaves[index]!, index, size, proof, root));
      assert(!verifyInclusion(leaves[(index + 1) % 70]!, index, size, proof, root));
      assert(!verifyInclusion(leaves[index]!, index, size, [...proof, root], root));
    }
    for (let first = 1; first <= size; first += 1) {
      const proof = await consistencyProof(first, size, node);
      const firstRoot = naiveRoot(leaves.slice(0, first));
      assert(verifyConsistency(first, size, proof, firstRoot, root));
      assert(!verifyConsistency(first, size, proof, naiveRoot(leaves.slice(1, first + 1)), root));
    }
  }
});

test('an edge has the root of the tree, however it grew', () => {
  const edge = new TreeEdge();
  assert.deepEqual(edge.root(), emptyRoot);
  for (const [index, leaf] of leaves.entries()) {
    edge.append(leaf);
    assert.deepEqual(edge.root(), naiveRoot(leaves.slice(0, index + 1)));
  }
  const bySubtree = new TreeEdge(0, []);
  bySubtree.append(naiveRoot(leaves.slice(0, 64)), 6);
  for (const leaf of leaves.slice(64)) bySubtree.append(leaf);
  assert.deepEqual(bySubtree.root(), edge.root());
  const again = new TreeEdge(
    edge.size,
    edge.peaks.map(({ hash }) => hash),
  );
  assert.deepEqual(again.root(), edge.root());
  assert.throws(() => new TreeEdge(3, [leaves[0]!]), /no such edge/);
});
