import type { SignInAnswer, TotpEnrollmentView } from '../src/contract/sign-in-schemas.ts';
import { call } from './api.ts';
import { button, element, field } from './elements.ts';
import { canUsePasskeys, makePasskey, type PasskeyRequest, provePasskey } from './passkeys.ts';
import { qrDrawing } from './qr-code.ts';
import { actButton, form, notice, show } from './screen.ts';

/** What comes after a first proof: done, the second factor that is due, or the enrolling of one. */

export type Pending = Extract<SignInAnswer, { state: 'pending' }>;

/** `done` is where the person wanted to go. */
export type Way = { readonly passkeys: string | null; readonly done: () => void };

export function proceed(answer: SignInAnswer, way: Way): void {
  if (answer.state === 'signed-in') {
    if (answer.recoveryCodes === undefined) way.done();
    else showRecoveryCodes(answer.recoveryCodes, way.done);
  } else if (answer.next === 'enroll') chooseFactor(answer, way);
  else if (answer.factors.includes('totp')) askCode(answer, way);
  else askOther(answer, way);
}

export const codeField = (label: string) =>
  field(label, {
    inputmode: 'numeric',
    autocomplete: 'one-time-code',
    pattern: '[0-9]{6}',
    maxlength: 6,
    class: 'code',
    title: 'Six digits',
  });

/** Signs in with a passkey alone, which is two factors. */
export async function signInByPasskey(way: Way): Promise<void> {
  const request = await call<PasskeyRequest>('POST', '/auth/passkey/options');
  const answer = await provePasskey(request);
  proceed(await call<SignInAnswer>('POST', '/auth/passkey/verify', { answer }), way);
}

function askCode(pending: Pending, way: Way): void {
  const { continuation } = pending;
  const code = codeField('Code of your authenticator app');
  show(
    'One more step',
    form({
      action: 'Continue',
      fields: [code.row],
      submit: async () =>
        proceed(await call('POST', '/auth/totp', { continuation, code: code.input.value }), way),
      below: [others(pending, way, 'totp')],
    }),
  );
}

function askOther(pending: Pending, way: Way): void {
  const said = notice();
  show(
    'One more step',
    element('p', {}, 'Prove your second factor to go on.'),
    said.box,
    others(pending, way, null),
  );
}

function askRecoveryCode(pending: Pending, way: Way): void {
  const { continuation } = pending;
  const code = field('Recovery code', { autocomplete: 'off', class: 'code' }, 'Each works once.');
  show(
    'Use a recovery code',
    form({
      action: 'Continue',
      fields: [code.row],
      submit: async () =>
        proceed(await call('POST', '/auth/recovery-code', { continuation, code: code.input.value }), way),
      below: [button('Back', () => proceed(pending, way), 'link')],
    }),
  );
}

function others(pending: Pending, way: Way, but: string | null): HTMLElement {
  const { factors } = pending;
  const said = notice();
  const passkey = factors.includes('passkey') && canUsePasskeys(way.passkeys);
  return element(
    'div',
    { class: 'others' },
    passkey ? actButton('Use a passkey', said, () => signInByPasskey(way), 'plain') : null,
    factors.includes('recovery-code')
      ? button('Use a recovery code', () => askRecoveryCode(pending, way), but === null ? 'plain' : 'link')
      : null,
    said.box,
  );
}

function chooseFactor(pending: Pending, way: Way): void {
  const { continuation, factors } = pending;
  const said = notice();
  const passkey = factors.includes('passkey') && canUsePasskeys(way.passkeys);
  show(
    'Protect your account',
    element('p', {}, 'Your role needs a second factor before you can sign in. It takes a minute.'),
    said.box,
    element(
      'div',
      { class: 'others' },
      passkey
        ? actButton('Make a passkey on this device', said, () => enrollPasskey(continuation, way), 'primary')
        : null,
      actButton(
        'Use an authenticator app',
        said,
        () => enrollTotp(continuation, way),
        passkey ? 'plain' : 'primary',
      ),
    ),
  );
}

async function enrollPasskey(continuation: string, way: Way): Promise<void> {
  const request = await call<PasskeyRequest>('POST', '/auth/enrollment/passkey/options', { continuation });
  const answer = await makePasskey(request);
  const given = { continuation, name: 'first passkey', answer };
  proceed(await call<SignInAnswer>('POST', '/auth/enrollment/passkey', given), way);
}

async function enrollTotp(continuation: string, way: Way): Promise<void> {
  const enrollment = await call<TotpEnrollmentView>('POST', '/auth/enrollment/totp', { continuation });
  show(
    'Set up your authenticator app',
    ...totpEnrollment(enrollment, async (code) =>
      proceed(await call<SignInAnswer>('POST', '/auth/enrollment/totp/confirm', { continuation, code }), way),
    ),
  );
}

/** The secret to scan or to type, and the field for the first code. */
export function totpEnrollment(
  { secret, uri }: TotpEnrollmentView,
  confirm: (code: string) => Promise<unknown>,
): readonly Node[] {
  const code = codeField('The code that the app shows');
  return [
    element('p', {}, 'Scan this with the app, or type the secret into it. Then enter the code it shows.'),
    qrDrawing(uri, 'QR code with the secret that stands below it'),
    element('p', { class: 'secret' }, element('code', {}, secret.replace(/(.{4})(?=.)/g, '$1 '))),
    form({ action: 'Confirm', fields: [code.row], submit: () => confirm(code.input.value) }),
  ];
}

/** They are shown once, so that nobody goes on by accident. */
export function showRecoveryCodes(codes: readonly string[], done: () => void): void {
  const text = codes.join('\n');
  const said = notice();
  show(
    'Keep your recovery codes',
    element('p', {}, 'Each lets you in once when your second factor is lost. They are not shown again.'),
    element('ul', { class: 'codes' }, ...codes.map((code) => element('li', {}, element('code', {}, code)))),
    said.box,
    element(
      'div',
      { class: 'others' },
      actButton('Copy', said, () => navigator.clipboard.writeText(text), 'plain'),
      button('I have kept them', done, 'primary'),
    ),
  );
}
