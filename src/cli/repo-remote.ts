import { apiLimits } from '../contract/limits.ts';
import type { CreateSession } from '../contract/schemas.ts';
import { isGitRef } from '../model/git-ref.ts';
import { formatRepositoryUrl, parseRepositoryUrl, type RepositoryUrl } from '../model/repository-url.ts';
import type { Environment } from './environment.ts';
import { CliFailure, UsageFailure } from './failure.ts';
import { hostKeysOf } from './known-hosts.ts';

const transport = /^(?:[a-z][a-z0-9+.-]*::|(?!file:)[a-z][a-z0-9+.-]+:\/\/)/i;
/** What git takes for ssh to another machine, git-clone(1): a user, a host, a path. */
const likeScp = /^([A-Za-z0-9._+-]+@[A-Za-z0-9._-]+):(.+)$/s;

/** Whether `--repo` names a repository of another machine, one that cannot be cloned included. */
export function isRemote(text: string): boolean {
  return transport.test(text) || likeScp.test(text);
}

/**
 * What a session that clones is made from. For ssh the keys that the caller knows the host by go with it, so that the
 * sandbox accepts no others. Throws UsageFailure for what is no such URL, without repeating it: it may hold a password.
 */
export async function remoteRepository(
  environment: Environment,
  { repo, ref }: { repo: string; ref: string | undefined },
): Promise<NonNullable<CreateSession['repo']>> {
  const parsed = parseRepositoryUrl(sshUrl(repo));
  if ('problem' in parsed)
    throw new UsageFailure(
      `The URL of --repo ${parsed.problem}`,
      'It looks like https://github.com/owner/name.git or ssh://git@github.com/owner/name.git',
    );
  if (ref !== undefined && !isGitRef(ref))
    throw new UsageFailure(`--ref takes a branch, a tag or a full commit id, not "${ref}"`);
  const url = formatRepositoryUrl(parsed.url);
  return {
    url,
    ...(ref === undefined ? {} : { ref }),
    ...(parsed.url.scheme === 'ssh' ? { hostKeys: await knownKeys(environment, parsed.url) } : {}),
  };
}

/** `git@host:owner/name` as a URL: hosting sites take its path from the root, where others take it from a home. */
function sshUrl(text: string): string {
  const [, place, path] = transport.test(text) ? [] : (likeScp.exec(text) ?? []);
  if (place === undefined || path === undefined) return text;
  return `ssh://${place}/${encodeURI(path.replace(/^\/+/, '')).replace(/[?#]/g, encodeURIComponent)}`;
}

async function knownKeys(environment: Environment, url: RepositoryUrl): Promise<string[]> {
  const keys = (await hostKeysOf(environment, url)).slice(0, apiLimits.sshHostKeysMax);
  if (keys.length > 0) return keys;
  const port = url.port === 22 ? '' : `-p ${url.port} `;
  throw new CliFailure(`No host key of ${url.host} is known here, so nobody could tell who answers for it.`, {
    hint: `Connect once and compare the fingerprint: ssh ${port}${url.user === null ? '' : `${url.user}@`}${url.host}`,
  });
}
