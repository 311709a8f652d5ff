/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The definition's text is the only truth: name, uuid and mark are read from
 * it whenever they are asked for, as libvirt would. */
#include "config.h"

#include "tests/daemon/fake-host.h"

#include "daemon/domain-xml.h"
#include "daemon/error.h"

#include <pthread.h>
#include <string.h>

typedef struct {
  char *xml, *live_xml;
  VpPower power;
  bool clean_shutdown;
  bool deaf;
  int id;
} Domain;

typedef struct {
  VpHost host;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  GHashTable *domains;  /* name -> Domain */
  GHashTable *failures; /* verb, "" for any -> Failure */
  GHashTable *counts;   /* verb -> count */
  GString *log;
  char *held_verb; /* "" for all, NULL for none */
  unsigned n_held;
  bool connected;
  int next_id;
  GQueue events; /* Event, one idle source for each */
  GPtrArray *sources;
  /* Main thread. */
  VpHostListener listener;
  gpointer user_data;
} Fake;

typedef struct {
  unsigned left;
  int code;
} Failure;

typedef struct {
  VpHostEvent event;
  char *name;
  const char *detail;
} Event;

static Fake *
fake_of (VpHost *host)
{
  return (Fake *) host;
}

static void
domain_free (Domain *domain)
{
  g_free (domain->xml);
  g_free (domain->live_xml);
  g_free (domain);
}

static void
event_free (Event *event)
{
  g_free (event->name);
  g_free (event);
}

/* Events pass through a queue under our own mutex, which ThreadSanitizer
 * sees; the source only says when to look. */
static gboolean
deliver (gpointer data)
{
  Fake *fake = data;
  Event *event;

  pthread_mutex_lock (&fake->mutex);
  g_ptr_array_remove (fake->sources, g_main_current_source ());
  event = g_queue_pop_head (&fake->events);
  pthread_mutex_unlock (&fake->mutex);
  if (fake->listener)
    fake->listener (event->event, event->name, event->detail, fake->user_data);
  event_free (event);
  return G_SOURCE_REMOVE;
}

/* With the mutex held. */
static void
emit (Fake *fake, VpHostEvent code, const char *name, const char *detail)
{
  Event *event = g_new0 (Event, 1);
  GSource *source = g_idle_source_new ();

  event->event = code;
  event->name = g_strdup (name);
  event->detail = detail;
  g_queue_push_tail (&fake->events, event);
  g_source_set_priority (source, G_PRIORITY_DEFAULT);
  g_source_set_callback (source, deliver, fake, NULL);
  g_ptr_array_add (fake->sources, source);
  g_source_attach (source, NULL);
}

/* The text of the first <element>, or NULL. */
static char *
text_of (const char *xml, const char *element)
{
  g_autofree char *open = g_strdup_printf ("<%s>", element);
  g_autofree char *close = g_strdup_printf ("</%s>", element);
  const char *start = strstr (xml, open);
  const char *end = start ? strstr (start, close) : NULL;

  if (!end)
    return NULL;
  start += strlen (open);
  return g_strndup (start, (size_t) (end - start));
}

static bool
is_held (Fake *fake, const char *verb)
{
  return fake->held_verb &&
         (!*fake->held_verb || strcmp (fake->held_verb, verb) == 0);
}

/* What every call goes through; the mutex is held when it returns, also on
 * failure.  ret_effect says whether a failed call happens nonetheless. */
static bool
begin (Fake *fake, const char *verb, const char *name, bool changes,
       bool *ret_effect, GError **error)
{
  Failure *failure;

  *ret_effect = false;
  pthread_mutex_lock (&fake->mutex);
  g_hash_table_insert (
      fake->counts, (gpointer) verb,
      GUINT_TO_POINTER (
          GPOINTER_TO_UINT (g_hash_table_lookup (fake->counts, verb)) + 1));
  if (changes)
    g_string_append_printf (fake->log, "%s%s %s", fake->log->len ? "; " : "",
                            verb, name);
  if (is_held (fake, verb)) {
    fake->n_held++;
    pthread_cond_broadcast (&fake->changed);
    while (is_held (fake, verb))
      pthread_cond_wait (&fake->changed, &fake->mutex);
    fake->n_held--;
  }

  if (!fake->connected) {
    g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_UNAVAILABLE,
                 "the fake host is not connected");
    return false;
  }
  failure = g_hash_table_lookup (fake->failures, verb);
  if (!failure)
    failure = g_hash_table_lookup (fake->failures, "");
  if (failure && failure->left > 0 && --failure->left == 0) {
    g_set_error (error, VP_ERROR, failure->code, "%s %s: failed as asked", verb,
                 name ? name : "");
    *ret_effect = failure->code == VP_ERROR_TIMEOUT;
    return false;
  }
  return true;
}

static void
end (Fake *fake)
{
  pthread_mutex_unlock (&fake->mutex);
}

static Domain *
find (Fake *fake, const char *name, GError **error)
{
  Domain *domain = g_hash_table_lookup (fake->domains, name);

  if (!domain && (!error || !*error))
    g_set_error (error, VP_ERROR, VP_ERROR_NO_SUCH_GUEST, "no domain %s", name);
  return domain;
}

static VpHostDomain *
describe (const char *name, const Domain *domain, bool with_xml)
{
  VpHostDomain *d = g_new0 (VpHostDomain, 1);

  d->name = g_strdup (name);
  d->uuid = text_of (domain->xml, "uuid");
  d->power = domain->power;
  d->persistent = true;
  d->clean_shutdown = domain->clean_shutdown;
  d->id = domain->live_xml ? domain->id : -1;
  d->mark = vp_domain_xml_get_mark (domain->xml, NULL);
  if (domain->live_xml)
    d->live_mark = vp_domain_xml_get_mark (domain->live_xml, NULL);
  if (with_xml) {
    d->xml = g_strdup (domain->xml);
    d->live_xml = g_strdup (domain->live_xml);
  }
  return d;
}

static void
run (Fake *fake, Domain *domain)
{
  g_free (domain->live_xml);
  domain->live_xml = g_strdup (domain->xml);
  domain->id = ++fake->next_id;
  domain->power = VP_POWER_RUNNING;
  domain->clean_shutdown = false;
}

static void
halt (Domain *domain, VpPower power, bool clean)
{
  g_clear_pointer (&domain->live_xml, g_free);
  domain->power = power;
  domain->clean_shutdown = clean;
}

/* ---- the calls ---- */

static void
fake_free (VpHost *host)
{
  Fake *fake = fake_of (host);

  for (unsigned i = 0; i < fake->sources->len; i++)
    g_source_destroy (g_ptr_array_index (fake->sources, i));
  g_ptr_array_unref (fake->sources);
  g_queue_clear_full (&fake->events, (GDestroyNotify) event_free);
  g_hash_table_unref (fake->domains);
  g_hash_table_unref (fake->failures);
  g_hash_table_unref (fake->counts);
  g_string_free (fake->log, TRUE);
  g_free (fake->held_verb);
  pthread_cond_destroy (&fake->changed);
  pthread_mutex_destroy (&fake->mutex);
  g_free (fake);
}

static const char *
fake_uri (VpHost *host)
{
  return "fake:///default";
}

static bool
fake_is_connected (VpHost *host)
{
  Fake *fake = fake_of (host);
  bool connected;

  pthread_mutex_lock (&fake->mutex);
  connected = fake->connected;
  pthread_mutex_unlock (&fake->mutex);
  return connected;
}

/* As the true host, it tells a new listener that there is a link. */
static void
fake_set_listener (VpHost *host, VpHostListener listener, gpointer user_data)
{
  Fake *fake = fake_of (host);

  pthread_mutex_lock (&fake->mutex);
  fake->listener = listener;
  fake->user_data = user_data;
  if (fake->connected && listener)
    emit (fake, VP_HOST_EVENT_CONNECTED, NULL, "fake");
  pthread_mutex_unlock (&fake->mutex);
}

static VpHostCaps *
fake_caps (VpHost *host, GError **error)
{
  Fake *fake = fake_of (host);
  VpHostCaps *caps = NULL;
  bool effect;

  if (begin (fake, "caps", NULL, false, &effect, error)) {
    caps = g_new0 (VpHostCaps, 1);
    caps->test = true;
    caps->kvm_reason = g_strdup ("the fake host has none");
    caps->arch = g_strdup ("x86_64");
    caps->machine = g_strdup ("pc-q35-7.2");
  }
  end (fake);
  return caps;
}

static GPtrArray *
fake_list (VpHost *host, GError **error)
{
  Fake *fake = fake_of (host);
  GPtrArray *list = NULL;
  GHashTableIter iter;
  gpointer name, domain;
  bool effect;

  if (begin (fake, "list", NULL, false, &effect, error)) {
    list =
        g_ptr_array_new_with_free_func ((GDestroyNotify) vp_host_domain_free);
    g_hash_table_iter_init (&iter, fake->domains);
    while (g_hash_table_iter_next (&iter, &name, &domain))
      g_ptr_array_add (list, describe (name, domain, false));
  }
  end (fake);
  return list;
}

static VpHostDomain *
fake_get (VpHost *host, const char *name, GError **error)
{
  Fake *fake = fake_of (host);
  VpHostDomain *result = NULL;
  bool effect;

  if (begin (fake, "get", name, false, &effect, error)) {
    Domain *domain = find (fake, name, error);

    if (domain)
      result = describe (name, domain, true);
  }
  end (fake);
  return result;
}

static void
define (Fake *fake, const char *name, const char *xml)
{
  Domain *domain = g_hash_table_lookup (fake->domains, name);

  if (!domain) {
    domain = g_new0 (Domain, 1);
    domain->power = VP_POWER_STOPPED;
    g_hash_table_insert (fake->domains, g_strdup (name), domain);
  }
  g_free (domain->xml);
  domain->xml = g_strdup (xml);
}

static bool
fake_define (VpHost *host, const char *xml, GError **error)
{
  Fake *fake = fake_of (host);
  g_autofree char *name = text_of (xml, "name");
  g_autofree char *uuid = text_of (xml, "uuid");
  bool effect, ok;

  ok = begin (fake, "define", name ? name : "?", true, &effect, error);
  if (ok && (!name || !uuid)) {
    g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_FAILED,
                 "a definition needs <name> and <uuid>");
    ok = false;
  }
  if ((ok || effect) && name) {
    Domain *old = g_hash_table_lookup (fake->domains, name);
    g_autofree char *old_uuid = old ? text_of (old->xml, "uuid") : NULL;

    if (old && g_strcmp0 (old_uuid, uuid) != 0) {
      if (ok)
        g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_FAILED,
                     "domain '%s' already exists with uuid %s", name, old_uuid);
      ok = false;
    } else {
      define (fake, name, xml);
      emit (fake, VP_HOST_EVENT_DEFINED, name, old ? "updated" : "added");
    }
  }
  end (fake);
  return ok;
}

static bool
fake_undefine (VpHost *host, const char *name, GError **error)
{
  Fake *fake = fake_of (host);
  bool effect, ok;

  ok = begin (fake, "undefine", name, true, &effect, error);
  if (ok || effect) {
    ok = find (fake, name, error) && ok;
    if (g_hash_table_remove (fake->domains, name))
      emit (fake, VP_HOST_EVENT_UNDEFINED, name, "removed");
  }
  end (fake);
  return ok;
}

/* The calls that need one domain and change its power.  wanted_running: what
 * the domain must be before. */
static bool
power_call (VpHost *host, const char *verb, const char *name, bool must_run,
            void (*act) (Fake *fake, const char *name, Domain *domain),
            GError **error)
{
  Fake *fake = fake_of (host);
  bool effect, ok;

  ok = begin (fake, verb, name, true, &effect, error);
  if (ok || effect) {
    Domain *domain = find (fake, name, error);

    if (!domain) {
      ok = false;
    } else if ((domain->live_xml != NULL) != must_run) {
      if (ok)
        g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_FAILED,
                     "domain %s is %srunning", name, must_run ? "not " : "");
      ok = false;
    } else {
      act (fake, name, domain);
    }
  }
  end (fake);
  return ok;
}

static void
act_start (Fake *fake, const char *name, Domain *domain)
{
  run (fake, domain);
  emit (fake, VP_HOST_EVENT_STARTED, name, "booted");
}

static bool
fake_start (VpHost *host, const char *name, GError **error)
{
  return power_call (host, "start", name, false, act_start, error);
}

static void
act_shutdown (Fake *fake, const char *name, Domain *domain)
{
  if (domain->deaf)
    return;
  halt (domain, VP_POWER_STOPPED, true);
  emit (fake, VP_HOST_EVENT_SHUTDOWN_BY_GUEST, name, "shutdown");
}

static bool
fake_shutdown (VpHost *host, const char *name, GError **error)
{
  return power_call (host, "shutdown", name, true, act_shutdown, error);
}

static void
act_destroy (Fake *fake, const char *name, Domain *domain)
{
  halt (domain, VP_POWER_STOPPED, false);
  emit (fake, VP_HOST_EVENT_STOPPED, name, "destroyed");
}

static bool
fake_destroy (VpHost *host, const char *name, GError **error)
{
  return power_call (host, "destroy", name, true, act_destroy, error);
}

static void
act_resume (Fake *fake, const char *name, Domain *domain)
{
  domain->power = VP_POWER_RUNNING;
  emit (fake, VP_HOST_EVENT_RESUMED, name, "unpaused");
}

static bool
fake_resume (VpHost *host, const char *name, GError **error)
{
  return power_call (host, "resume", name, true, act_resume, error);
}

/* Changes of the text, in the running definition, the kept one, or both. */
typedef char *(*Edit) (const char *xml, const void *what);

static bool
edit_call (VpHost *host, const char *verb, const char *name, unsigned scope,
           Edit edit, const void *what, GError **error)
{
  Fake *fake = fake_of (host);
  bool effect, ok;

  ok = begin (fake, verb, name, true, &effect, error);
  if (ok || effect) {
    Domain *domain = find (fake, name, error);
    char *live, *kept;

    if (!domain) {
      end (fake);
      return false;
    }
    live = (scope & VP_HOST_LIVE) && domain->live_xml
               ? edit (domain->live_xml, what)
               : NULL;
    kept = scope & VP_HOST_CONFIG ? edit (domain->xml, what) : NULL;
    if (((scope & VP_HOST_LIVE) && !live) ||
        ((scope & VP_HOST_CONFIG) && !kept)) {
      if (ok)
        g_set_error (error, VP_ERROR, VP_ERROR_LIBVIRT_FAILED,
                     "%s %s: nothing to change there", verb, name);
      ok = false;
      g_free (live);
      g_free (kept);
    } else {
      if (live) {
        g_free (domain->live_xml);
        domain->live_xml = live;
      }
      if (kept) {
        g_free (domain->xml);
        domain->xml = kept;
        emit (fake, VP_HOST_EVENT_DEFINED, name, "updated");
      }
    }
  }
  end (fake);
  return ok;
}

static char *
edit_attach (const char *xml, const void *what)
{
  const char *end = strstr (xml, "</devices>");

  return end ? g_strdup_printf ("%.*s%s%s", (int) (end - xml), xml,
                                (const char *) what, end)
             : NULL;
}

/* Removes the element that bears the alias of what. */
static char *
edit_detach (const char *xml, const void *what)
{
  const char *alias = strstr (what, "ua-vp-");
  const char *element = strstr (what, "<interface") ? "interface" : "disk";
  g_autofree char *open = g_strdup_printf ("<%s", element);
  g_autofree char *close = g_strdup_printf ("</%s>", element);
  g_autofree char *name = NULL;
  const char *at, *start, *end;

  if (!alias)
    return NULL;
  name = g_strndup (alias, strcspn (alias, "'\""));
  at = strstr (xml, name);
  start = at ? g_strrstr_len (xml, at - xml, open) : NULL;
  end = at ? strstr (at, close) : NULL;
  if (!start || !end)
    return NULL;
  return g_strdup_printf ("%.*s%s", (int) (start - xml), xml,
                          end + strlen (close));
}

/* Puts number as text of every <element ...>; NULL where there is none. */
static char *
replace_number (const char *xml, const char *element, uint64_t number)
{
  g_autofree char *open = g_strdup_printf ("<%s", element);
  g_autofree char *close = g_strdup_printf ("</%s>", element);
  const char *start = strstr (xml, open);
  const char *text = start ? strchr (start, '>') : NULL;
  const char *end = text ? strstr (text, close) : NULL;

  if (!end)
    return NULL;
  return g_strdup_printf ("%.*s%" G_GUINT64_FORMAT "%s", (int) (text + 1 - xml),
                          xml, number, end);
}

static char *
edit_memory (const char *xml, const void *what)
{
  uint64_t kib = *(const uint64_t *) what / 1024;
  g_autofree char *total = replace_number (xml, "memory", kib);
  char *current = total ? replace_number (total, "currentMemory", kib) : NULL;

  return current ? current : g_steal_pointer (&total);
}

static char *
edit_cpus (const char *xml, const void *what)
{
  return replace_number (xml, "vcpu", *(const unsigned *) what);
}

static char *
edit_mark (const char *xml, const void *what)
{
  return vp_domain_xml_set_mark (xml, what, NULL);
}

static bool
fake_attach (VpHost *host, const char *name, const char *device_xml,
             unsigned scope, GError **error)
{
  return edit_call (host, "attach", name, scope, edit_attach, device_xml,
                    error);
}

static bool
fake_detach (VpHost *host, const char *name, const char *device_xml,
             unsigned scope, GError **error)
{
  return edit_call (host, "detach", name, scope, edit_detach, device_xml,
                    error);
}

static bool
fake_set_memory (VpHost *host, const char *name, uint64_t bytes, unsigned scope,
                 GError **error)
{
  return edit_call (host, "set_memory", name, scope, edit_memory, &bytes,
                    error);
}

static bool
fake_set_cpus (VpHost *host, const char *name, unsigned cpus, unsigned scope,
               GError **error)
{
  return edit_call (host, "set_cpus", name, scope, edit_cpus, &cpus, error);
}

static void
act_nothing (Fake *fake, const char *name, Domain *domain)
{
}

static bool
fake_grow_disk (VpHost *host, const char *name, const char *target,
                uint64_t size, GError **error)
{
  return power_call (host, "grow_disk", name, true, act_nothing, error);
}

static bool
fake_set_mark (VpHost *host, const char *name, const VpMark *mark,
               unsigned scope, GError **error)
{
  return edit_call (host, "set_mark", name, scope, edit_mark, mark, error);
}

static const VpHostOps ops = {
  .free = fake_free,
  .uri = fake_uri,
  .is_connected = fake_is_connected,
  .set_listener = fake_set_listener,
  .caps = fake_caps,
  .list = fake_list,
  .get = fake_get,
  .define = fake_define,
  .undefine = fake_undefine,
  .start = fake_start,
  .shutdown = fake_shutdown,
  .destroy = fake_destroy,
  .resume = fake_resume,
  .attach = fake_attach,
  .detach = fake_detach,
  .set_memory = fake_set_memory,
  .set_cpus = fake_set_cpus,
  .grow_disk = fake_grow_disk,
  .set_mark = fake_set_mark,
};

/* ---- a test's verbs ---- */

VpHost *
vp_fake_host_new (void)
{
  Fake *fake = g_new0 (Fake, 1);

  fake->host.ops = &ops;
  pthread_mutex_init (&fake->mutex, NULL);
  pthread_cond_init (&fake->changed, NULL);
  fake->domains = g_hash_table_new_full (g_str_hash, g_str_equal, g_free,
                                         (GDestroyNotify) domain_free);
  fake->failures =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  fake->counts = g_hash_table_new (g_str_hash, g_str_equal);
  fake->log = g_string_new (NULL);
  g_queue_init (&fake->events);
  fake->sources =
      g_ptr_array_new_with_free_func ((GDestroyNotify) g_source_unref);
  fake->connected = true;
  return &fake->host;
}

void
vp_fake_host_add (VpHost *host, const char *xml, bool running)
{
  Fake *fake = fake_of (host);
  g_autofree char *name = text_of (xml, "name");

  g_assert_nonnull (name);
  pthread_mutex_lock (&fake->mutex);
  define (fake, name, xml);
  if (running)
    run (fake, g_hash_table_lookup (fake->domains, name));
  pthread_mutex_unlock (&fake->mutex);
}

VpHostDomain *
vp_fake_host_peek (VpHost *host, const char *name)
{
  Fake *fake = fake_of (host);
  VpHostDomain *result = NULL;
  Domain *domain;

  pthread_mutex_lock (&fake->mutex);
  domain = g_hash_table_lookup (fake->domains, name);
  if (domain)
    result = describe (name, domain, true);
  pthread_mutex_unlock (&fake->mutex);
  return result;
}

void
vp_fake_host_fail (VpHost *host, const char *verb, unsigned nth, int code)
{
  Fake *fake = fake_of (host);
  Failure *failure = g_new0 (Failure, 1);

  failure->left = nth;
  failure->code = code;
  pthread_mutex_lock (&fake->mutex);
  g_hash_table_insert (fake->failures, g_strdup (verb ? verb : ""), failure);
  pthread_mutex_unlock (&fake->mutex);
}

void
vp_fake_host_hold (VpHost *host, const char *verb)
{
  Fake *fake = fake_of (host);

  pthread_mutex_lock (&fake->mutex);
  g_free (fake->held_verb);
  fake->held_verb = g_strdup (verb ? verb : "");
  pthread_mutex_unlock (&fake->mutex);
}

void
vp_fake_host_wait_held (VpHost *host, unsigned n)
{
  Fake *fake = fake_of (host);

  pthread_mutex_lock (&fake->mutex);
  while (fake->n_held < n)
    pthread_cond_wait (&fake->changed, &fake->mutex);
  pthread_mutex_unlock (&fake->mutex);
}

void
vp_fake_host_release (VpHost *host)
{
  Fake *fake = fake_of (host);

  pthread_mutex_lock (&fake->mutex);
  g_clear_pointer (&fake->held_verb, g_free);
  pthread_cond_broadcast (&fake->changed);
  pthread_mutex_unlock (&fake->mutex);
}

void
vp_fake_host_set_connected (VpHost *host, bool connected)
{
  Fake *fake = fake_of (host);

  pthread_mutex_lock (&fake->mutex);
  if (fake->connected != connected) {
    fake->connected = connected;
    emit (fake,
          connected ? VP_HOST_EVENT_CONNECTED : VP_HOST_EVENT_DISCONNECTED,
          NULL, "fake");
  }
  pthread_mutex_unlock (&fake->mutex);
}

static void
happen (VpHost *host, const char *name, VpPower power, bool clean,
        VpHostEvent event, const char *detail)
{
  Fake *fake = fake_of (host);
  Domain *domain;

  pthread_mutex_lock (&fake->mutex);
  domain = g_hash_table_lookup (fake->domains, name);
  g_assert_true (domain && domain->live_xml);
  if (power == VP_POWER_PAUSED)
    domain->power = power;
  else
    halt (domain, power, clean);
  emit (fake, event, name, detail);
  pthread_mutex_unlock (&fake->mutex);
}

void
vp_fake_host_power_off (VpHost *host, const char *name)
{
  happen (host, name, VP_POWER_STOPPED, true, VP_HOST_EVENT_SHUTDOWN_BY_GUEST,
          "shutdown");
}

void
vp_fake_host_crash (VpHost *host, const char *name)
{
  happen (host, name, VP_POWER_CRASHED, false, VP_HOST_EVENT_CRASHED,
          "crashed");
}

void
vp_fake_host_pause (VpHost *host, const char *name)
{
  happen (host, name, VP_POWER_PAUSED, false, VP_HOST_EVENT_PAUSED, "paused");
}

void
vp_fake_host_stranger_destroys (VpHost *host, const char *name)
{
  happen (host, name, VP_POWER_STOPPED, false, VP_HOST_EVENT_STOPPED,
          "destroyed");
}

void
vp_fake_host_set_deaf (VpHost *host, const char *name, bool deaf)
{
  Fake *fake = fake_of (host);
  Domain *domain;

  pthread_mutex_lock (&fake->mutex);
  domain = g_hash_table_lookup (fake->domains, name);
  g_assert_nonnull (domain);
  domain->deaf = deaf;
  pthread_mutex_unlock (&fake->mutex);
}

unsigned
vp_fake_host_count (VpHost *host, const char *verb)
{
  Fake *fake = fake_of (host);
  unsigned count = 0;

  pthread_mutex_lock (&fake->mutex);
  if (verb) {
    count = GPOINTER_TO_UINT (g_hash_table_lookup (fake->counts, verb));
  } else if (fake->log->len > 0) {
    count = 1;
    for (const char *p = fake->log->str; *p; p++)
      count += *p == ';';
  }
  pthread_mutex_unlock (&fake->mutex);
  return count;
}

char *
vp_fake_host_log (VpHost *host)
{
  Fake *fake = fake_of (host);
  char *log;

  pthread_mutex_lock (&fake->mutex);
  log = g_strdup (fake->log->str);
  pthread_mutex_unlock (&fake->mutex);
  return log;
}

void
vp_fake_host_clear_log (VpHost *host)
{
  Fake *fake = fake_of (host);

  pthread_mutex_lock (&fake->mutex);
  g_string_truncate (fake->log, 0);
  pthread_mutex_unlock (&fake->mutex);
}
