import { createHash, X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import type { Clock } from '../base/clock.ts';
import type { Control } from '../control/control.ts';
import { serverLimits } from './limits.ts';
import { openTlsSource, type TlsPair, type TlsSource } from './tls.ts';

/** The built-in authority, as far as a listener for machines needs it. All certificates are PEM. */
export type MachineAuthority = {
  /** Those whose certificates are taken now. */
  certificates(): Promise<readonly { readonly certificate: string }[]>;
  /** A new one at each call. */
  serverCredential(
    names: readonly string[],
  ): Promise<{ readonly key: string; readonly certificate: string; readonly expiresAt: number }>;
};

export type MachineOptions = {
  /** Port 0 takes a free one. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly authority: MachineAuthority;
  /** Names and addresses at which machines reach this listener. */
  readonly names: readonly string[];
};

type Credential = Awaited<ReturnType<MachineAuthority['serverCredential']>> & { readonly since: number };

/** What the listener for machines speaks TLS with, renewed before it is over and whenever the authority changes. */
export type MachineSource = TlsSource & { close(): void };

export async function openMachineSource(
  { authority, names }: MachineOptions,
  { control, clock, logger }: { control: Control; clock: Clock; logger: Logger },
): Promise<MachineSource> {
  let credential: Credential | null = null;
  const read = async (): Promise<TlsPair> => {
    const clientAuthorities = (await authority.certificates()).map(({ certificate }) => certificate);
    const kept = credential;
    if (kept === null || isDue(kept, clientAuthorities, clock.now()))
      credential = { ...(await authority.serverCredential(names)), since: clock.now() };
    const { key, certificate } = credential!;
    return { key, certificate, clientAuthorities };
  };
  // The first credential makes the first authority, where there is none yet.
  await read();
  const source = openTlsSource(await read());
  const look = oneAtATime(async () => {
    try {
      const pair = await read();
      if (!sameIdentity(pair, source.current)) source.change(pair);
    } catch (error) {
      logger.error({ err: error }, 'the certificates of the listener for machines stay as they are');
    }
  });
  const stopListening = control.onIdentityChange(look);
  const timer = setInterval(look, serverLimits.machineRenewCheckMs);
  timer.unref();
  return {
    get current() {
      return source.current;
    },
    onChange: source.onChange,
    close: () => {
      clearInterval(timer);
      stopListening();
    },
  };
}

/** Calls during one make another after it, which sees what they are about. */
function oneAtATime(act: () => Promise<void>): () => void {
  let isBusy = false;
  let again = false;
  const run = async () => {
    isBusy = true;
    do {
      again = false;
      await act();
    } while (again);
    isBusy = false;
  };
  return () => {
    if (isBusy) again = true;
    else void run();
  };
}

/** Past half its life, or issued by an authority that is taken no longer. */
function isDue({ certificate, since, expiresAt }: Credential, authorities: readonly string[], now: number) {
  if (now >= since + (expiresAt - since) / 2) return true;
  const own = new X509Certificate(certificate);
  return !authorities.some((authority) => own.checkIssued(new X509Certificate(authority)));
}

function sameIdentity(a: TlsPair, b: TlsPair): boolean {
  return (
    a.certificate === b.certificate && a.clientAuthorities?.join('\n') === b.clientAuthorities?.join('\n')
  );
}

/** The SHA-256 fingerprint, hex, of the certificate that the TLS layer verified; null where there is none. */
export function fingerprintOf(socket: TLSSocket): string | null {
  const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined;
  return certificate === undefined ? null : createHash('sha256').update(certificate.raw).digest('hex');
}
