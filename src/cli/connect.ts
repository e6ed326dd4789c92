import { createClient } from '../client/client.ts';
import { createOAuthClient } from '../client/oauth.ts';
import type { Api } from './api.ts';
import { isLoopback, type Target } from './target.ts';

/** A client of the target; nothing is sent yet. `local` is this machine's own socket, which needs no token. */
export function connect(target: Target, options: { local?: boolean }): Api {
  const { url, token, socketPath, authorities } = target;
  if (options.local === true) return createClient({ url: 'http://localhost', socketPath });
  return createClient({
    url,
    ...(token === null ? {} : { token }),
    authorities,
  });
}

/**
 * Whether the target is the server behind this machine's own socket. An address of this machine alone does not say so: it
 * may be a tunnel to another server, whose refusals say nothing about the one here.
 */
export async function isHere({ url, socketPath, authorities }: Target): Promise<boolean> {
  if (!isLoopback(new URL(url))) return false;
  const there = createOAuthClient({ url, authorities });
  const here = createOAuthClient({ url: 'http://localhost', socketPath });
  try {
    const [its, ours] = await Promise.all([there.keys(), here.keys()]);
    return its === ours;
  } catch {
    return false;
  } finally {
    there.close();
    here.close();
  }
}
