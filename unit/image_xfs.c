/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/image_impl.h"

/* Its header has names of the kernel's: nothing else is included after it. */
#include <xfs/xfs.h>

int lcm_xfs_size(int root, uint64_t *ret_bytes)
{
	struct xfs_fsop_geom geo = { 0 };
	int r = lcm_sys_ioctl(root, XFS_IOC_FSGEOMETRY, &geo);

	if (r == 0)
		*ret_bytes = geo.datablocks * geo.blocksize;
	return r;
}

int lcm_xfs_grow(int root, uint64_t bytes)
{
	struct xfs_fsop_geom geo = { 0 };
	struct xfs_growfs_data grow = { 0 };
	int r = lcm_sys_ioctl(root, XFS_IOC_FSGEOMETRY, &geo);

	if (r < 0)
		return r;
	if (!geo.blocksize)
		return -EUCLEAN;
	grow.newblocks = bytes / geo.blocksize;
	grow.imaxpct = geo.imaxpct;
	if (grow.newblocks <= geo.datablocks)
		return 0;
	return lcm_sys_ioctl(root, XFS_IOC_FSGROWFSDATA, &grow);
}
