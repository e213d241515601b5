// Who looks at the page, what they may do, and their menu in the head. The server decides in any case; what is known here
// only spares people what would be refused.

import { get, post } from './api.js';
import { attribute, find, h, text, toast } from './dom.js';
import { field, makeForm, newPassword, wrongPassword } from './forms.js';

const REASONS = {
  'video:live': 'This account may not watch live pictures.',
  'video:playback': 'This account may not watch recordings.',
};

/** Tells by a `change` event that somebody else is there, or that they may do something else. */
class Account extends EventTarget {
  /** The answer of `auth/me`; null while nobody is known. */
  person = null;

  async ask() {
    return get('/api/v1/auth/me', { expectsRefusal: true });
  }

  set(person) {
    const changed = JSON.stringify(person) !== JSON.stringify(this.person);
    this.person = person;
    showMenu(person);
    if (changed) this.dispatchEvent(new Event('change'));
  }
}

export const account = new Account();

/** Whether a capability is held, for any camera at all. */
export function can(capability) {
  const held = account.person?.capabilities ?? [];
  return held.includes('admin') || held.includes(capability);
}

/** Why something may not be done, for a title; '' where it may. */
export const reasonAgainst = (capability) => (can(capability) ? '' : REASONS[capability]);

/** The form for a new password, with `beside` it further buttons; `done` is called when it is changed. */
export function passwordForm({ person, beside, done }) {
  // Password managers learn from it whose password this is.
  const username = field('Username', 'username', { autocomplete: 'username', value: person.username ?? person.name, readOnly: true });
  username.hidden = true;
  const current = { type: 'password', autocomplete: 'current-password', required: true };
  return makeForm({
    label: 'Change password',
    rows: [username, field('Current password', 'current_password', current), ...newPassword('New password', 'new_password')],
    button: 'Change password',
    beside,
    check: ({ current_password: old, new_password: password, again }) =>
      old ? wrongPassword('new_password', password, again) : { field: 'current_password', text: 'Your current password is needed too.' },
    async send({ current_password, new_password }) {
      await post('/api/v1/auth/password', { current_password, new_password });
      done();
    },
  });
}

/** Signs out and begins anew, so that nothing of what was shown remains. */
export async function signOut() {
  try {
    await post('/api/v1/auth/logout', undefined, { expectsRefusal: true });
  } catch (error) {
    toast(`Not signed out. ${error.text ?? error}`);
    return;
  }
  location.reload();
}

function showMenu(person) {
  const isUser = person?.kind === 'user';
  find('account').hidden = !isUser;
  if (!isUser) {
    find('account-menu').hidePopover?.();
    return;
  }
  text(find('account-name'), person.name);
  attribute(find('account'), 'aria-label', `Account of ${person.name}`);
  const { username = person.name } = person;
  text(find('account-whole'), person.name);
  text(find('account-user'), username === person.name ? '' : username);
}

find('account-password').addEventListener('click', () => {
  find('account-menu').hidePopover?.();
  const dialog = find('password');
  const form = passwordForm({
    person: account.person,
    beside: [h('button', { className: 'button', type: 'button', onclick: () => dialog.close() }, 'Cancel')],
    done() {
      dialog.close();
      toast('The password is changed. Whoever was signed in with the old one elsewhere is signed out.');
    },
  });
  find('password-form').replaceChildren(form);
  dialog.showModal();
  form.querySelector('[name=current_password]').focus();
});
find('password').addEventListener('close', () => find('password-form').replaceChildren());
find('account-out').addEventListener('click', signOut);
