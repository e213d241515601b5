// Forms: every refusal stands beside the field that it is about, or above all of them where it is about none.

import { h, text } from './dom.js';

/** A labelled field; `name` is the API's word for it, and further properties are those of the element. */
export function field(label, name, more = {}, hint = '') {
  const input = h('input', { name, ...more });
  const below = hint ? h('small', { className: 'muted' }, hint) : null;
  return h('label', { className: 'row' }, label, input, below, h('small', { className: 'wrong', role: 'alert', hidden: true }));
}

/** A new password, twice. */
export function newPassword(label, name) {
  const more = { type: 'password', autocomplete: 'new-password', required: true };
  return [field(label, name, more, 'At least 8 characters.'), field('The same again', 'again', more)];
}

/** What is wrong with a new password before the server is asked; null for nothing. */
export function wrongPassword(name, password, again) {
  if ([...password].length < 8) return { field: name, text: 'At least 8 characters are needed.' };
  if (password !== again) return { field: 'again', text: 'This is not the same password.' };
  return null;
}

/**
 * A form that sends itself by script. `check(given)` tells what is wrong before it is sent, as `{field, text}` or null;
 * `send(given)` sends it; `refused(error, form)` is told of a refusal once that is shown.
 */
export function makeForm({ label, rows, button, beside = [], check = () => null, send, refused = () => {} }) {
  const submit = h('button', { className: 'button primary', type: 'submit' }, button);
  const above = h('p', { className: 'trouble', role: 'alert', hidden: true });
  // Were it ever sent without the script, a password would not end up in the address.
  const form = h('form', { method: 'post', noValidate: true, 'aria-label': label }, above, ...rows, h('div', { className: 'buttons' }, ...beside, submit));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (submit.disabled) return;
    const given = Object.fromEntries(new FormData(form));
    const wrong = check(given);
    showRefusal(form, wrong);
    if (wrong) return;
    submit.disabled = true;
    try {
      await send(given);
    } catch (error) {
      submit.disabled = false;
      if (!form.contains(document.activeElement)) submit.focus();
      showRefusal(form, error);
      refused(error, form);
    } finally {
      submit.disabled = false;
    }
  });
  return form;
}

/** Shows what is wrong, an `{field, text}` or any error; nothing for null. */
export function showRefusal(form, error) {
  let shown = false;
  for (const input of form.querySelectorAll('input')) {
    const wrong = input.parentElement.querySelector('.wrong');
    if (!wrong) continue;
    const about = error !== null && error.field === input.name;
    wrong.hidden = !about;
    text(wrong, about ? error.text : '');
    if (about) {
      input.setAttribute('aria-invalid', 'true');
      input.focus();
      shown = true;
    } else {
      input.removeAttribute('aria-invalid');
    }
  }
  const above = form.querySelector('.trouble');
  above.hidden = error === null || shown;
  text(above, above.hidden ? '' : error.text ?? String(error));
}
