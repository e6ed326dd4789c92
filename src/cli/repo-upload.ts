import type { CreateSession } from '../contract/schemas.ts';
import type { Api } from './api.ts';
import { isTop, localRepository, openCheckout } from './checkout.ts';
import { type Context, note } from './context.ts';
import { CliFailure } from './failure.ts';
import { createGit } from './git.ts';
import { cliLimits } from './limits.ts';
import type { Progress } from './progress.ts';
import { showBytes } from './quantities.ts';
import { bundleRepository } from './repo-bundle.ts';

export type RepoSource = { readonly repo: string; readonly dirty: boolean };

/** Sends the repository that `repo` names and gives what a session is made from. Leaves nothing behind on failure. */
export async function uploadRepository(
  context: Context,
  api: Api,
  source: RepoSource,
  progress: Progress,
  signal: AbortSignal,
): Promise<NonNullable<CreateSession['repo']>> {
  const { environment } = context;
  const git = createGit(environment);
  const path = localRepository(source.repo, environment.cwd);
  await progress.show('reading the repository …');
  const checkout = await openCheckout(git, path);
  const { temporary } = environment;
  const bundle = await bundleRepository(git, checkout, { dirty: source.dirty, temporary, signal });
  try {
    await progress.clear();
    if (!(await isTop(checkout, path)))
      await note(environment, `The whole repository ${checkout.top} is uploaded.`);
    for (const text of bundle.notes) await note(environment, text);
    const upload = await api.uploads
      .store(counted(bundle.bytes(), progress, context), { signal })
      .catch(ownCause);
    await progress.clear();
    return {
      upload: upload.id,
      ...(bundle.shallow.length === 0 ? {} : { shallow: [...bundle.shallow] }),
    };
  } finally {
    await bundle.dispose();
  }
}

async function* counted(
  bytes: AsyncIterable<Buffer>,
  progress: Progress,
  { environment, verbose }: Context,
): AsyncGenerator<Buffer> {
  let sent = 0;
  let shownAt = Number.NEGATIVE_INFINITY;
  for await (const chunk of bytes) {
    yield chunk;
    sent += chunk.length;
    const now = environment.clock.monotonic();
    if (verbose || now - shownAt < cliLimits.progressEveryMs) continue;
    shownAt = now;
    await progress.show(`uploading ${showBytes(sent)} …`);
  }
  if (verbose) await progress.show(`uploaded ${showBytes(sent)}`);
}

/** A failure of git ends the request, which then fails because of it; git's words are the ones to show. */
function ownCause(error: unknown): never {
  if (error instanceof Error && error.cause instanceof CliFailure) throw error.cause;
  throw error;
}
