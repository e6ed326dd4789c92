import { Secret, TOTP } from 'otpauth';
import { identityLimits } from './limits.ts';

/** A secret that an authenticator app is given once, in base32, and the address that carries it in a QR code. */
export type TotpEnrollment = { readonly secret: string; readonly uri: string };

const form = { algorithm: 'SHA1', digits: identityLimits.totpDigits, period: identityLimits.totpStepSeconds };

/** `place` is what the app shows beside the name, such as the host of the server. */
export function newTotp(name: string, place: string): TotpEnrollment {
  const secret = new Secret({ size: identityLimits.totpSecretBytes });
  const uri = new TOTP({ ...form, secret, issuer: `Sealwright ${place}`, label: name }).toString();
  return { secret: secret.base32, uri };
}

/**
 * The step of time that the code belongs to, or null where it is of none around now (RFC 6238 §5.2). That each step is
 * taken once is for the store to see to.
 */
export function totpStep(secret: string, code: string, nowMs: number): number | null {
  if (!/^\d+$/.test(code) || code.length !== identityLimits.totpDigits) return null;
  const found = TOTP.validate({
    ...form,
    token: code,
    secret: Secret.fromBase32(secret),
    timestamp: nowMs,
    window: identityLimits.totpWindowSteps,
  });
  return found === null ? null : TOTP.counter({ period: form.period, timestamp: nowMs }) + found;
}

/** The code of a moment, as an authenticator app shows it. */
export function totpCode(secret: string, nowMs: number): string {
  return TOTP.generate({ ...form, secret: Secret.fromBase32(secret), timestamp: nowMs });
}

/** What a user's secret is sealed as. */
export function totpPurpose(name: string): string {
  return `totp ${name}`;
}
