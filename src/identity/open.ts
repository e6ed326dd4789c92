import type { Clock } from '../base/clock.ts';
import { oauthPaths } from '../contract/oauth.ts';
import type { Actor } from '../model/actor.ts';
import { parseId } from '../model/ids.ts';
import { isTerminal } from '../model/run.ts';
import type { Store } from '../store/store.ts';
import { type AccessTokens, openAccessTokens } from './access-tokens.ts';
import { openAgentCertificates } from './agent-certificates.ts';
import { type Authority, openAuthority } from './certificates/authority.ts';
import { type ChangeFeed, openChangeFeed } from './change-feed.ts';
import { type ClientAssertions, openClientAssertions } from './client-assertions.ts';
import { type Identity, openIdentity } from './identity.ts';
import { openPrincipals, type Principals } from './principals.ts';
import { openRunIdentity, type RunIdentity } from './run-identity.ts';
import type { Sealing } from './sealing.ts';
import { openSignIns, type SignInLives, type SignIns } from './sign-ins.ts';
import { openSigningKeys, type SigningKeys } from './signing-keys.ts';
import { type BootstrapOptions, openTokens, type Tokens } from './tokens.ts';

/** Everything that says who callers are, on one store. */
export type IdentityDirectory = {
  readonly changes: ChangeFeed;
  readonly principals: Principals;
  readonly tokens: Tokens;
  readonly signIns: SignIns;
  readonly signingKeys: SigningKeys;
  readonly accessTokens: AccessTokens;
  readonly assertions: ClientAssertions;
  readonly identity: Identity;
  readonly authority: Authority;
  readonly runIdentity: RunIdentity;
  /** Writes what is still to be written about last uses. The store stays open. */
  close(): Promise<void>;
};

export type IdentityDirectoryOptions = {
  readonly store: Store;
  readonly clock: Clock;
  /** For what must be read again and may not lie open in the store. */
  readonly sealing: Sealing;
  /** The origin of this server from outside: it issues tokens and they are for it. */
  readonly publicUrl: string;
  readonly bootstrap: BootstrapOptions;
  readonly lives: SignInLives;
  /** The host part of every `spiffe://` name. */
  readonly trustDomain: string;
  /** Whom the tokens of runs are for; `publicUrl` with `/runs` where absent. */
  readonly runAudiences?: readonly string[];
  /** A last use that could not be written, or a look for changes that failed. */
  readonly onError: (error: unknown) => void;
};

export async function openIdentityDirectory(options: IdentityDirectoryOptions): Promise<IdentityDirectory> {
  const { store, clock, sealing, publicUrl: issuer, bootstrap, lives, trustDomain, onError } = options;
  const changes = await openChangeFeed({ store: store.identity.changes, clock, onError });
  const principals = openPrincipals({ store: store.identity, changes, clock });
  const { users } = store.identity;
  const tokens = openTokens({ store: store.tokens, users, principals, changes, clock, bootstrap, onError });
  const signIns = openSignIns({
    store: store.identity.signIns,
    principals,
    changes,
    clock,
    lives,
    parentOf: (parent) => parentOf({ store, tokens, clock }, parent),
    onError,
  });
  const signingKeys = await openSigningKeys({ store: store.identity.signingKeys, sealing, changes, clock });
  const accessTokens = openAccessTokens({ keys: signingKeys, signIns, issuer, clock });
  const audiences = [issuer, issuer + oauthPaths.token];
  const assertions = openClientAssertions({ store: store.identity, audiences, clock });
  const authority = openAuthority({ store: store.identity.signingKeys, sealing, clock, trustDomain });
  const certificates = openAgentCertificates({
    store: store.identity.agents,
    principals,
    authority,
    changes,
    clock,
    onError,
  });
  const identity = openIdentity({ tokens, signIns, changes, accessTokens, certificates });
  const runIdentity = openRunIdentity({
    ...{ keys: signingKeys, runs: store.runs, issuer, trustDomain, clock },
    audiences: options.runAudiences ?? [`${issuer}/runs`],
  });
  return {
    changes,
    principals,
    tokens,
    signIns,
    signingKeys,
    accessTokens,
    assertions,
    identity,
    authority,
    runIdentity,
    close: async () => {
      await changes.close();
      await Promise.all([tokens.close(), signIns.close(), certificates.close()]);
    },
  };
}

/** Who the token is that something was exchanged from, or that the credential or run still lives. */
async function parentOf(
  { store, tokens, clock }: { store: Store; tokens: Tokens; clock: Clock },
  parent: string,
): Promise<Actor | 'alive' | null> {
  const token = parseId('token', parent);
  if (token !== null) return await tokens.actorOf(token);
  const credential = parseId('credential', parent);
  if (credential !== null) {
    const kept = await store.identity.agents.credential(credential);
    return kept === null || (kept.expiresAt !== null && kept.expiresAt <= clock.now()) ? null : 'alive';
  }
  const run = parseId('run', parent);
  const record = run === null ? null : await store.runs.get(run);
  return record === null || isTerminal(record.state.phase) ? null : 'alive';
}
