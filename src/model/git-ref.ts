export const gitRefCharactersMax = 255;

/** A space, what globs and revisions are written with, and control characters (git-check-ref-format(1)). */
const foreign = /[\p{Cc}\s~^:?*[\\]|\.\.|@\{/u;

/**
 * Whether a text is a branch, a tag or a full commit id as `--ref` takes it: the part of a ref's name after
 * `refs/heads/` or `refs/tags/` (git-check-ref-format(1)), and never an option.
 */
export function isGitRef(text: string): boolean {
  if (text === '' || text.length > gitRefCharactersMax || !text.isWellFormed()) return false;
  if (text.startsWith('-') || text === '@' || text.endsWith('.') || foreign.test(text)) return false;
  return text.split('/').every((part) => part !== '' && !part.startsWith('.') && !part.endsWith('.lock'));
}

/** A commit by its whole id, SHA-1 or SHA-256. */
export function isCommitId(text: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text);
}
