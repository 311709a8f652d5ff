/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "daemon/kvm.h"

#include <string.h>

/* The words that a processor's line in /proc/cpuinfo must have one of.
 * Other architectures say nothing there: the device is then enough. */
static const struct {
  const char *arch, *line, *words[2], *name;
} processors[] = {
  { "x86_64", "flags", { "vmx", "svm" }, "VT-x or AMD-V" },
  { "i686", "flags", { "vmx", "svm" }, "VT-x or AMD-V" },
  { "s390x", "features", { "sie", NULL }, "SIE" },
};

static bool
line_has_word (const char *line, const char *word)
{
  g_auto (GStrv) words = g_strsplit_set (line, " \t:", -1);

  return g_strv_contains ((const char *const *) words, word);
}

static bool
processor_has (const char *cpuinfo, const char *line_name,
               const char *const words[2])
{
  g_auto (GStrv) lines = g_strsplit (cpuinfo, "\n", -1);

  for (char **line = lines; *line; line++) {
    if (!g_str_has_prefix (*line, line_name))
      continue;
    for (size_t i = 0; i < 2; i++)
      if (words[i] && line_has_word (*line, words[i]))
        return true;
  }
  return false;
}

bool
vp_kvm_is_usable (const VpKvmEvidence *evidence, char **ret_reason)
{
  *ret_reason = NULL;
  if (!evidence->device) {
    *ret_reason = g_strdup ("there is no /dev/kvm: the kvm module is not "
                            "loaded, or virtualisation is off in the firmware");
    return false;
  }
  for (size_t i = 0; i < G_N_ELEMENTS (processors); i++) {
    if (g_strcmp0 (processors[i].arch, evidence->arch) != 0)
      continue;
    if (!evidence->cpuinfo) {
      *ret_reason = g_strdup ("/proc/cpuinfo cannot be read");
      return false;
    }
    if (!processor_has (evidence->cpuinfo, processors[i].line,
                        processors[i].words)) {
      *ret_reason = g_strdup_printf ("the processor does not show %s, though "
                                     "there is a /dev/kvm",
                                     processors[i].name);
      return false;
    }
  }
  if (!evidence->offered) {
    *ret_reason = g_strdup ("libvirt does not offer KVM, see \"virsh "
                            "domcapabilities --virttype kvm\"");
    return false;
  }
  return true;
}
