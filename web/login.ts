import { isOwnPath, signInErrors } from '../src/contract/sign-in-page.ts';
import type { SignInAnswer, SignInMethods } from '../src/contract/sign-in-schemas.ts';
import { call } from './api.ts';
import { element, field } from './elements.ts';
import { canUsePasskeys } from './passkeys.ts';
import { actButton, form, notice, show } from './screen.ts';
import { proceed, signInByPasskey, type Way } from './sign-in-steps.ts';

/** Name and password, passkey, or a provider; then on to where the person wanted to go, on this server alone. */
export async function loginPage(): Promise<void> {
  const query = new URLSearchParams(location.search);
  const asked = query.get('next') ?? '';
  const next = isOwnPath(asked) ? asked : '/account';
  const methods = await call<SignInMethods>('GET', '/auth/methods');
  const way: Way = { passkeys: methods.passkeys, done: () => location.replace(next) };
  const said = notice();
  const error = query.get('error') ?? '';
  if (Object.hasOwn(signInErrors, error)) said.say(signInErrors[error as keyof typeof signInErrors]);
  show(
    'Sign in',
    query.get('fresh') === '1' ? element('p', {}, 'Prove once more who you are to go on.') : null,
    said.box,
    methods.local ? passwordForm(way) : null,
    ways(methods, way, { next, fresh: query.get('fresh') === '1' }),
  );
}

function passwordForm(way: Way): HTMLElement {
  const name = field('Name', {
    name: 'name',
    autocomplete: 'username',
    autocapitalize: 'none',
    autofocus: true,
  });
  const password = field('Password', {
    name: 'password',
    type: 'password',
    autocomplete: 'current-password',
  });
  return form({
    action: 'Sign in',
    fields: [name.row, password.row],
    submit: async () => {
      const given = { name: name.input.value, password: password.input.value };
      proceed(await call<SignInAnswer>('POST', '/auth/password', given), way);
    },
  });
}

function ways(
  { local, providers, passkeys }: SignInMethods,
  way: Way,
  { next, fresh }: { next: string; fresh: boolean },
): HTMLElement {
  const said = notice();
  const passkey = canUsePasskeys(passkeys);
  const query = new URLSearchParams({ next, ...(fresh ? { fresh: '1' } : {}) });
  const links = providers.map(({ name, url }) =>
    element('a', { class: 'button plain', href: `${url}?${query}` }, `Continue with ${name}`),
  );
  return element(
    'div',
    { class: 'others' },
    local && (passkey || links.length > 0) ? element('p', { class: 'or' }, 'or') : null,
    passkey ? actButton('Use a passkey', said, () => signInByPasskey(way), 'plain') : null,
    ...links,
    local || links.length > 0
      ? null
      : element('p', {}, 'There is no way to sign in here. Ask an administrator.'),
    said.box,
  );
}
