import { type ClientNetworks, clientNetworksOf, mayActFrom } from '../access/client-networks.ts';
import { programLife } from '../contract/oauth.ts';
import type { SignInConfig } from '../control/identity/sign-in-parts.ts';
import type { SignInLives } from '../identity/sign-ins.ts';
import type { Settings } from './settings.ts';

const hourMs = 3600 * 1000;
const dayMs = 24 * hourMs;

/** How people sign in here. */
export function signInConfig(settings: Settings, publicUrl: string): SignInConfig {
  const networks = clientNetworks(settings);
  return {
    publicUrl,
    localSignIn: settings.localSignIn === 'yes',
    passwordWords: settings.passwordWords,
    mfaRoles: settings.mfaRoles,
    mayComeFrom: (role, address) => mayActFrom(networks, 'sign-in', role, address),
  };
}

/** The server's own origin: `localhost` where the settings name none. */
export function publicUrlOf({ publicUrl, tlsCert }: Settings, port: number): string {
  return publicUrl ?? `${tlsCert === null ? 'http' : 'https'}://localhost:${port}`;
}

/** How long sign-ins last. */
export function signInLives(settings: Settings): SignInLives {
  return {
    browserIdleMs: settings.sessionIdleMinutes * 60_000,
    browserMs: settings.sessionHours * hourMs,
    programIdleMs: programLife.idleDays * dayMs,
    programMs: programLife.days * dayMs,
  };
}

/** Where people may come from, as the settings say. */
export function clientNetworks(settings: Settings): ClientNetworks {
  return clientNetworksOf({
    'sign-in': settings.signInNetworks,
    administration: settings.administrationNetworks,
    attach: settings.attachNetworks,
  });
}
