import type { Clock } from '../../base/clock.ts';
import type { ProviderSettings } from '../../contract/providers.ts';
import { openGithub } from './github.ts';
import { openOidc } from './oidc.ts';
import type { Provider } from './provider.ts';

/** The providers by id, in the order in which they are offered. None is asked for anything before somebody signs in there. */
export function openProviders(
  settings: readonly ProviderSettings[],
  clock: Clock,
): ReadonlyMap<string, Provider> {
  return new Map(
    settings.map((one) => [one.id, one.kind === 'oidc' ? openOidc(one, clock) : openGithub(one, clock)]),
  );
}
