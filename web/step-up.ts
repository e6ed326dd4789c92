import type { AccountView } from '../src/contract/account-schemas.ts';
import { call, Problem } from './api.ts';
import { button, element, field } from './elements.ts';
import { canUsePasskeys, type PasskeyRequest, provePasskey } from './passkeys.ts';
import { actButton, form, notice } from './screen.ts';
import { codeField } from './sign-in-steps.ts';

/** Does it, and where that asks for a fresh proof, asks for one and does it again. */
export async function withProof<T>(
  account: AccountView,
  domain: string | null,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'auth.step-up') throw error;
    await prove(account, domain);
    return await work();
  }
}

/** Resolves once the person has proved again who it is; rejects where it would not. */
function prove(account: AccountView, domain: string | null): Promise<void> {
  return new Promise((resolve, reject) => {
    const said = notice();
    const done = () => {
      resolve();
      dialog.close();
    };
    const byPasskey = async () => {
      const request = await call<PasskeyRequest>('POST', '/auth/step-up/options');
      await call('POST', '/auth/step-up', { answer: await provePasskey(request) });
      done();
    };
    const passkey = account.passkeys.length > 0 && canUsePasskeys(domain);
    const dialog: HTMLDialogElement = element(
      'dialog',
      { 'aria-labelledby': 'step-up-title' },
      element('h2', { id: 'step-up-title' }, 'Prove once more who you are'),
      account.password && (account.totp || account.passkeys.length === 0)
        ? passwordForm(account, done)
        : null,
      said.box,
      element(
        'div',
        { class: 'others' },
        passkey ? actButton('Use a passkey', said, byPasskey, 'plain') : null,
        account.password || passkey
          ? null
          : element('a', { class: 'button plain', href: '/login?fresh=1&next=/account' }, 'Sign in again'),
        button('Cancel', () => dialog.close(), 'link'),
      ),
    );
    dialog.addEventListener('close', () => {
      dialog.remove();
      reject(new Error('Nothing was changed.'));
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

function passwordForm(account: AccountView, done: () => void): HTMLElement {
  const password = field('Password', { type: 'password', autocomplete: 'current-password' });
  const code = account.totp ? codeField('Code of your authenticator app') : null;
  return form({
    action: 'Continue',
    fields: [password.row, code?.row ?? null],
    submit: async () => {
      const given = {
        password: password.input.value,
        ...(code === null ? {} : { code: code.input.value }),
      };
      await call('POST', '/auth/step-up', given);
      done();
    },
  });
}
