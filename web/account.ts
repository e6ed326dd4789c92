import type {
  AccountView,
  Enrolled,
  PasskeyView,
  RecoveryCodes,
  SignInView,
} from '../src/contract/account-schemas.ts';
import type { SignInMethods, TotpEnrollmentView } from '../src/contract/sign-in-schemas.ts';
import { call } from './api.ts';
import { button, element, field, timeText } from './elements.ts';
import { canUsePasskeys, makePasskey, type PasskeyRequest } from './passkeys.ts';
import { actButton, form, type Notice, notice, offerSignOut, show } from './screen.ts';
import { showRecoveryCodes, totpEnrollment } from './sign-in-steps.ts';
import { withProof } from './step-up.ts';

type Shown = {
  readonly account: AccountView;
  readonly methods: SignInMethods;
  readonly signIns: readonly SignInView[];
};

const path = '/api/v1/account';

/** Who one is here, what protects it, and where one is signed in. */
export async function accountPage(): Promise<void> {
  const [account, methods, { items: signIns }] = await Promise.all([
    call<AccountView>('GET', path),
    call<SignInMethods>('GET', '/auth/methods'),
    call<{ items: SignInView[] }>('GET', `${path}/sign-ins?limit=50`),
  ]);
  offerSignOut();
  const shown = { account, methods, signIns };
  const sections = [profile(shown), signInSection(shown)];
  if (methods.local) sections.splice(1, 0, passwordSection(shown), factorSection(shown));
  show(account.displayName ?? account.name, ...sections);
  document.querySelector('#page')!.classList.add('wide');
}

function section(title: string, ...children: readonly (Node | string | null)[]): HTMLElement {
  return element('section', {}, element('h2', {}, title), ...children);
}

/** What is dangerous asks for a fresh proof first. */
function proved<T>({ account, methods }: Shown, work: () => Promise<T>): Promise<T> {
  return withProof(account, methods.passkeys, work);
}

function profile({ account }: Shown): HTMLElement {
  const facts: readonly (readonly [string, string | null])[] = [
    ['Name', account.name],
    ['E-mail', account.email],
    ['Role', account.role],
    ['Teams', account.teams.join(', ') || 'none'],
    ['Signed in', `${timeText(account.signIn.at)}${account.signIn.mfa ? ', with two factors' : ''}`],
  ];
  return section(
    'You',
    element(
      'dl',
      {},
      ...facts.flatMap(([term, text]) =>
        text === null ? [] : [element('dt', {}, term), element('dd', {}, text)],
      ),
    ),
    element('a', { href: '/terminals' }, 'Terminals of runs'),
  );
}

function passwordSection(shown: Shown): HTMLElement {
  if (!shown.account.password) return section('Password', element('p', {}, 'You have none here.'));
  const current = field('Current password', { type: 'password', autocomplete: 'current-password' });
  const password = field('New password', { type: 'password', autocomplete: 'new-password', minlength: 8 });
  const said = notice();
  const change = form({
    action: 'Change password',
    fields: [current.row, password.row],
    submit: async () => {
      const given = { current: current.input.value, password: password.input.value };
      await proved(shown, () => call('PUT', `${path}/password`, given));
      await accountPage();
    },
  });
  return section(
    'Password',
    element('details', {}, element('summary', {}, 'Change it; all other sign-ins end'), change),
    said.box,
  );
}

function factorSection(shown: Shown): HTMLElement {
  const { account, methods } = shown;
  const said = notice();
  const enrolled = account.totp || account.passkeys.length > 0;
  return section(
    'Second factors',
    enrolled
      ? null
      : element('p', { class: 'warning' }, 'Your password alone protects this account. Add one.'),
    element(
      'ul',
      { class: 'list' },
      element(
        'li',
        {},
        element('span', {}, 'Authenticator app'),
        account.totp
          ? actButton('Remove', said, () => remove(shown, `${path}/totp`))
          : actButton('Set up', said, () => enrollTotp(shown)),
      ),
      ...account.passkeys.map((passkey) => passkeyItem(shown, passkey, said)),
      canUsePasskeys(methods.passkeys)
        ? element(
            'li',
            {},
            element('span', {}, 'Passkey'),
            actButton('Add', said, () => addPasskey(shown)),
          )
        : null,
      enrolled
        ? element(
            'li',
            {},
            element('span', {}, `Recovery codes: ${account.recoveryCodesLeft} left`),
            actButton('Make new ones', said, () => renewCodes(shown)),
          )
        : null,
    ),
    said.box,
  );
}

function passkeyItem(shown: Shown, { id, name, lastUsedAt }: PasskeyView, said: Notice): HTMLElement {
  return element(
    'li',
    {},
    element('span', {}, `Passkey “${name}”`, element('small', {}, `last used ${timeText(lastUsedAt)}`)),
    actButton('Remove', said, () => remove(shown, `${path}/passkeys/${encodeURIComponent(id)}`)),
  );
}

async function remove(shown: Shown, what: string): Promise<void> {
  await proved(shown, () => call('DELETE', what));
  await accountPage();
}

async function enrollTotp(shown: Shown): Promise<void> {
  const enrollment = await proved(shown, () => call<TotpEnrollmentView>('POST', `${path}/totp`));
  show(
    'Set up your authenticator app',
    ...totpEnrollment(enrollment, async (code) => {
      await afterwards(await proved(shown, () => call<Enrolled>('POST', `${path}/totp/confirm`, { code })));
    }),
    button('Cancel', accountPage, 'link'),
  );
}

async function addPasskey(shown: Shown): Promise<void> {
  const name = field(
    'A name for it',
    { maxlength: 63, autofocus: true },
    'Such as the device that it is on.',
  );
  show(
    'Add a passkey',
    form({
      action: 'Make the passkey',
      fields: [name.row],
      submit: async () => {
        const request = await proved(shown, () => call<PasskeyRequest>('POST', `${path}/passkeys/options`));
        const given = { name: name.input.value.trim(), answer: await makePasskey(request) };
        await afterwards(await call<Enrolled>('POST', `${path}/passkeys`, given));
      },
      below: [button('Cancel', accountPage, 'link')],
    }),
  );
}

async function renewCodes(shown: Shown): Promise<void> {
  await afterwards(await proved(shown, () => call<RecoveryCodes>('POST', `${path}/recovery-codes`)));
}

async function afterwards({ recoveryCodes }: Enrolled): Promise<void> {
  if (recoveryCodes === undefined) await accountPage();
  else showRecoveryCodes(recoveryCodes, () => void accountPage());
}

function signInSection({ signIns }: Shown): HTMLElement {
  const said = notice();
  const others = signIns.filter(({ current }) => !current);
  const end = (one: SignInView) => async () => {
    await call('DELETE', `${path}/sign-ins/${one.id}`);
    await accountPage();
  };
  return section(
    'Where you are signed in',
    element(
      'ul',
      { class: 'list' },
      ...signIns.map((one) =>
        element(
          'li',
          {},
          element(
            'span',
            {},
            `${one.client ?? 'Browser'} at ${one.address ?? 'this machine'}`,
            element('small', {}, `${one.userAgent ?? ''}`),
            element('small', {}, `used ${timeText(one.lastUsedAt)}, ends ${timeText(one.expiresAt)}`),
          ),
          one.current ? element('em', {}, 'this one') : actButton('End', said, end(one)),
        ),
      ),
    ),
    said.box,
    element(
      'div',
      { class: 'row' },
      others.length === 0
        ? null
        : actButton('End all others', said, async () => {
            await call('DELETE', `${path}/sign-ins`);
            await accountPage();
          }),
      actButton(
        'Sign out everywhere',
        said,
        async () => {
          await call('DELETE', `${path}/sign-ins?everywhere=true`);
          location.replace('/login');
        },
        'danger',
      ),
    ),
  );
}
