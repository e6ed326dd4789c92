import { AuthorizationResponseError, ClientError, ResponseBodyError } from 'openid-client';
import { ProviderRefusal, type RefusalReason } from './provider.ts';

/**
 * What the library throws, as a refusal that says where. Nothing of what the provider sent is passed on but error codes
 * of OAuth: codes, tokens and claims stay out of logs.
 */
export async function refusing<T>(reason: RefusalReason, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw refusalOf(reason, error);
  }
}

function refusalOf(reason: RefusalReason, error: unknown): ProviderRefusal {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof ProviderRefusal) return cause;
  if (error instanceof AuthorizationResponseError) return new ProviderRefusal('denied', word(error.error));
  if (error instanceof ResponseBodyError) return new ProviderRefusal(reason, word(error.error));
  if (!(error instanceof ClientError)) return new ProviderRefusal(reason, 'failed');
  const claim = claimOf(error);
  if (claim !== null) return new ProviderRefusal(reason === 'answer' ? 'id-token' : reason, claim);
  const place = (error.code ?? 'failed').replace(/^OAUTH_/, '').toLowerCase();
  return new ProviderRefusal(reason, word(place));
}

/** The claim of an ID token that the library found wrong. */
function claimOf(error: Error): string | null {
  for (
    let at: unknown = error;
    typeof at === 'object' && at !== null;
    at = (at as { cause?: unknown }).cause
  ) {
    const { claim } = at as { claim?: unknown };
    if (typeof claim === 'string') return word(claim);
  }
  return null;
}

function word(text: string): string {
  return /^[a-z][a-z0-9_-]{0,39}$/i.test(text) ? text.toLowerCase() : 'other';
}
