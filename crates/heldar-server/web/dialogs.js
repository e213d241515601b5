// The two dialogs: adding a camera, with every refusal beside the field that it is about, and removing one.

import { camera as path, post, remove } from './api.js';
import { find, text } from './dom.js';
import { showRefusal } from './forms.js';

/** Binds the dialog; `added(camera)` is called with the new one. */
export function bindAdd(added) {
  const dialog = find('add');
  const form = find('add-form');
  const open = () => {
    form.reset();
    showRefusal(form, null);
    dialog.showModal();
  };
  find('add-open').addEventListener('click', open);
  find('add-first').addEventListener('click', open);
  find('add-cancel').addEventListener('click', () => dialog.close());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    const lacking = missing(given);
    showRefusal(form, lacking);
    if (lacking) return;
    const submit = find('add-submit');
    submit.disabled = true;
    try {
      const camera = await post('/api/v1/cameras', body(given));
      dialog.close();
      added(camera);
    } catch (error) {
      showRefusal(form, error);
    } finally {
      submit.disabled = false;
    }
  });
}

function missing({ name, main_stream_url: url }) {
  if (!name.trim()) return { field: 'name', text: 'Give the camera a name.' };
  if (!url.trim()) return { field: 'main_stream_url', text: 'Where is its stream? The address begins with rtsp://.' };
  return null;
}

function body({ name, main_stream_url: url, username, password }) {
  const made = { name: name.trim(), main_stream_url: url.trim() };
  if (username) made.username = username;
  if (password) made.password = password;
  return made;
}

/** Binds the dialog; `chosen()` is the camera it is about, `removed(id)` is called when it is gone. */
export function bindRemove(chosen, removed) {
  const dialog = find('remove');
  let id = '';
  find('remove-open').addEventListener('click', () => {
    const camera = chosen();
    if (!camera) return;
    id = camera.id;
    find('remove-keep').checked = false;
    find('remove-error').hidden = true;
    text(find('remove-text'), `${camera.name} is no longer recorded, and what was recorded of it is deleted.`);
    dialog.showModal();
  });
  find('remove-cancel').addEventListener('click', () => dialog.close());
  find('remove-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const query = find('remove-keep').checked ? { keep_recordings: true } : {};
    try {
      await remove(path(id, '', query));
      dialog.close();
      removed(id);
    } catch (error) {
      find('remove-error').hidden = false;
      text(find('remove-error'), error.text ?? String(error));
    }
  });
}
