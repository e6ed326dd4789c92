import assert from 'node:assert/strict';
import { z } from 'zod';
import { gitRefCharactersMax, isGitRef } from '../model/git-ref.ts';
import {
  formatRepositoryUrl,
  parseRepositoryUrl,
  repositoryUrlCharactersMax,
} from '../model/repository-url.ts';
import { apiLimits } from './limits.ts';

/** The members of a repository that is cloned inside the sandbox. */

export const repositoryUrl = z
  .string()
  .max(repositoryUrlCharactersMax)
  .superRefine((text, context) => {
    const parsed = parseRepositoryUrl(text);
    if ('problem' in parsed) context.addIssue({ code: 'custom', message: parsed.problem });
  })
  .meta({
    description: 'https:// or ssh://, without credentials',
    example: 'https://github.com/owner/name.git',
  });

export const gitRef = z
  .string()
  .max(gitRefCharactersMax)
  .refine(isGitRef, { message: 'is not the name of a branch or tag, nor a commit id' })
  .meta({ description: "A branch, a tag or a full commit id; the remote's HEAD where absent" });

/**
 * A key as `known_hosts` and `authorized_keys` have it (sshd(8)): its type and its base64, without host and comment.
 * The base64 begins with the length of the type's name, in four bytes.
 */
export const sshHostKey = z
  .string()
  .max(apiLimits.sshHostKeyCharactersMax)
  .regex(
    /^(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) AAAA[A-Za-z0-9+/]{32,}={0,2}$/,
    'is not an SSH key: its type, a space and its base64',
  );

export const sshHostKeys = z
  .array(sshHostKey)
  .max(apiLimits.sshHostKeysMax)
  .meta({ description: 'With ssh:// alone, and due there: one of these keys is that of the host' });

/** The one spelling of a URL that `repositoryUrl` has let through. */
export function canonicalRepositoryUrl(text: string): string {
  const parsed = parseRepositoryUrl(text);
  assert('url' in parsed, 'the schema has refused what is no URL of a repository');
  return formatRepositoryUrl(parsed.url);
}
