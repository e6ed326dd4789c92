import { ApiError } from '../client/api-error.ts';
import type { Api } from './api.ts';
import { UsageFailure } from './failure.ts';

type TokenCalls = Api['tokens'];

/** What may be done with tokens: with everybody's where the caller may, else with the caller's own. */
export function tokenCalls({ tokens, account }: Pick<Api, 'tokens' | 'account'>): TokenCalls {
  const own = account.tokens;
  return {
    create: (request, made) =>
      elseOwn(
        () => tokens.create(request, made),
        async (denied) => {
          const { actor, expiresInSeconds, ...rest } = request;
          if (actor !== undefined) throw denied;
          if (expiresInSeconds === undefined)
            throw new UsageFailure('A token of your own needs --expires', 'For example: --expires 90d');
          return await own.create({ ...rest, expiresInSeconds }, made);
        },
      ),
    list: (query) =>
      elseOwn(
        () => tokens.list(query),
        () => own.list(query),
      ),
    revoke: (id) =>
      elseOwn(
        () => tokens.revoke(id),
        () => own.revoke(id),
      ),
    rotate: (id, request) =>
      elseOwn(
        () => tokens.rotate(id, request),
        () => own.rotate(id, request),
      ),
  };
}

async function elseOwn<T>(all: () => Promise<T>, own: (denied: ApiError) => Promise<T>): Promise<T> {
  try {
    return await all();
  } catch (error) {
    if (error instanceof ApiError && lacksIdentity(error)) return await own(error);
    throw error;
  }
}

function lacksIdentity({ code, problem }: ApiError): boolean {
  const { required } = problem;
  return code === 'access.denied' && (required === 'identity:read' || required === 'identity:write');
}
