import { emptyRoot, hashBytes, nodeHash } from './merkle.ts';

/**
 * Proofs about Merkle trees, as anybody checks them who has nothing but hashes (RFC 9162, 2.1.3.2 and 2.1.4.2; subtrees as
 * draft-ietf-plants-merkle-tree-certs, 4, has them). Each is false for every proof that is not exactly right: too short,
 * too long, of another leaf or another size. Nothing is thrown, whatever the numbers are.
 */

/** The leaves from `start` to before `end` of a tree. */
export type Subtree = { readonly start: number; readonly end: number };
type Proof = readonly Uint8Array[];

/** Whether the tree of `size` leaves with this `root` has this leaf at `index`. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: Proof,
  root: Uint8Array,
): boolean {
  if (!isCount(index) || !isCount(size) || index >= size || !areHashes([leaf, root, ...proof])) return false;
  let [at, last] = [index, size - 1];
  let found = leaf;
  for (const sibling of proof) {
    if (last === 0) return false;
    if (isOdd(at) || at === last) {
      found = nodeHash(sibling, found);
      while (!isOdd(at) && at !== 0) [at, last] = [halved(at), halved(last)];
    } else {
      found = nodeHash(found, sibling);
    }
    [at, last] = [halved(at), halved(last)];
  }
  return last === 0 && equal(found, root);
}

/** The same for a subtree and its root. */
export function verifySubtreeInclusion(
  leaf: Uint8Array,
  index: number,
  subtree: Subtree,
  proof: Proof,
  root: Uint8Array,
): boolean {
  const { start, end } = subtree;
  return isSubtree(subtree) && verifyInclusion(leaf, index - start, end - start, proof, root);
}

/** Whether the tree of `size` leaves with root `second` begins with the tree of `first` leaves with root `firstRoot`. */
export function verifyConsistency(
  first: number,
  size: number,
  proof: Proof,
  firstRoot: Uint8Array,
  root: Uint8Array,
): boolean {
  if (first === 0 || size === first) return isCount(size) && isSame(first, size, proof, firstRoot, root);
  return verifySubtreeConsistency({ start: 0, end: first }, size, proof, firstRoot, root);
}

/** An empty tree says nothing about a larger one, so nothing is to be proved of it, but of itself. */
function isSame(first: number, size: number, proof: Proof, firstRoot: Uint8Array, root: Uint8Array): boolean {
  if (first !== size) return false;
  const isRight = size > 0 || equal(root, emptyRoot);
  return isRight && proof.length === 0 && equal(firstRoot, root);
}

/**
 * Whether the leaves of `subtree`, whose root is `subtreeRoot`, are those of the tree of `size` leaves with this `root`. No
 * leaves are part of every tree.
 */
export function verifySubtreeConsistency(
  subtree: Subtree,
  size: number,
  proof: Proof,
  subtreeRoot: Uint8Array,
  root: Uint8Array,
): boolean {
  if (!isCount(size) || subtree.end > size) return false;
  if (subtree.start === subtree.end) return proof.length === 0 && equal(subtreeRoot, emptyRoot);
  if (!isSubtree(subtree)) return false;
  let [from, to, last] = [subtree.start, subtree.end - 1, size - 1];
  const isAtEdge = to === last;
  const shift = () => {
    [from, to, last] = [halved(from), halved(to), halved(last)];
  };
  while (from !== to && (isAtEdge || isOdd(to))) shift();
  const rest = from === to ? proof : proof.slice(1);
  const start = from === to ? subtreeRoot : proof[0];
  if (start === undefined) return false;
  let [part, whole] = [start, start];
  for (const sibling of rest) {
    if (last === 0) return false;
    if (isOdd(to) || to === last) {
      if (from < to) part = nodeHash(sibling, part);
      whole = nodeHash(sibling, whole);
      while (!isOdd(to)) shift();
    } else {
      whole = nodeHash(whole, sibling);
    }
    shift();
  }
  return last === 0 && equal(part, subtreeRoot) && equal(whole, root);
}

/** Whether a range is a node of every tree that reaches so far: it begins at a multiple of its size rounded up to a power of two. */
function isSubtree({ start, end }: Subtree): boolean {
  if (!isCount(start) || !isCount(end) || start >= end) return false;
  return start % 2 ** Math.ceil(Math.log2(end - start)) === 0;
}

function areHashes(values: Proof): boolean {
  return values.every(({ length }) => length === hashBytes);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function isOdd(value: number): boolean {
  return value % 2 === 1;
}

function halved(value: number): number {
  return Math.floor(value / 2);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
