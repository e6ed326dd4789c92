import { gitIn, TestRepository } from '../../src/cli/test-repository.ts';

/** An entry of a tree as git stores it, whatever its name: `content` is a file's, a link's target or a folder's entries. */
export type TreeEntry = {
  readonly mode: '100644' | '100755' | '120000' | '40000' | '160000';
  readonly name: string;
  readonly content: string | readonly TreeEntry[];
};

export const file = (name: string, content = 'x\n'): TreeEntry => ({ mode: '100644', name, content });
export const program = (name: string, content: string): TreeEntry => ({ mode: '100755', name, content });
export const link = (name: string, content: string): TreeEntry => ({ mode: '120000', name, content });
export const treeOf = (name: string, ...content: TreeEntry[]): TreeEntry => ({
  mode: '40000',
  name,
  content,
});

/** A well-formed bundle of a commit whose tree holds these entries, which git itself would never let into an index. */
export function hostileBundle(folder: string, entries: readonly TreeEntry[]): Buffer {
  const repository = new TestRepository(folder);
  const tree = writeTree(folder, entries);
  const commit = repository.git('commit-tree', tree, '-m', 'hostile');
  repository.git('update-ref', 'refs/heads/main', commit);
  return repository.gitBytes('bundle', 'create', '-q', '-', 'HEAD', 'refs/heads/main');
}

function writeTree(folder: string, entries: readonly TreeEntry[]): string {
  const lines = entries.map(({ mode, name, content }) => {
    const id = objectOf(folder, mode, content);
    return Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]);
  });
  return store(folder, 'tree', Buffer.concat(lines));
}

function objectOf(folder: string, mode: TreeEntry['mode'], content: TreeEntry['content']): string {
  if (typeof content !== 'string') return writeTree(folder, content);
  return mode === '160000' ? content : store(folder, 'blob', Buffer.from(content));
}

function store(folder: string, kind: 'tree' | 'blob', bytes: Buffer): string {
  return gitIn(folder, ['hash-object', '-w', '--literally', '-t', kind, '--stdin'], bytes)
    .toString('utf8')
    .trim();
}
