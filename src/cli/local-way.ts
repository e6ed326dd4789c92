import type { Api } from './api.ts';
import type { Context } from './context.ts';

/** Of commands that the owner of the data folder may use without a token. */
export type Local = { local?: boolean };

export const localHelp = "use this machine's own socket, as the owner of the data folder";

/** The server, over this machine's own socket where that is asked for. */
export async function connected(context: Context, { local }: Local): Promise<Api> {
  return await context.connect(local === true ? { local: true } : {});
}
