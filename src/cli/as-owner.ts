import { ApiError } from '../client/api-error.ts';
import type { Api } from './api.ts';
import type { Context } from './context.ts';

/**
 * Calls the server with the token there is; where there is none or it may not do this, and the server is this
 * machine's, over its own socket, which answers to the owner of the data folder.
 */
export async function asOwner<T>(
  context: Context,
  flags: { local?: boolean },
  call: (api: Api) => Promise<T>,
): Promise<T> {
  const { token } = await context.describeTarget();
  if (flags.local === true || (!token && (await context.isHere())))
    return await call(await context.connect({ local: true }));
  try {
    return await call(await context.connect());
  } catch (error) {
    const refused = error instanceof ApiError && (error.status === 401 || error.status === 403);
    if (!refused || !(await context.isHere())) throw error;
    const viaSocket = call(await context.connect({ local: true }));
    return await viaSocket.catch((failure: unknown) => {
      throw failure instanceof ApiError && failure.status === 0 ? error : failure;
    });
  }
}
