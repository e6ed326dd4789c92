import { createClient } from '../client/client.ts';
import type { Api } from './api.ts';
import type { Target } from './target.ts';

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
